import { readFileSync } from 'node:fs';

/** The version in package.json, which lies two folders above the compiled file. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const found = /"version": "([^"]+)"/.exec(text)?.[1];
  if (found === undefined) throw new Error('package.json has no version');
  return found;
}
