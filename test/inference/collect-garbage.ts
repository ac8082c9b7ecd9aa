import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collector: unknown = runInNewContext('gc');

/** Has V8 free everything that is not referenced any more. */
export function collectGarbage(): void {
  if (isCollector(collector)) collector();
}

function isCollector(value: unknown): value is () => void {
  return typeof value === 'function';
}
