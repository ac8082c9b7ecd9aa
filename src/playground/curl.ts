import type { OptionFields } from './service.js';

/**
 * The command that asks the same of the service, for a POSIX shell. A key stands in it by name alone: commands end
 * up in histories and chats.
 */
export function curlCommand(url: URL, fileName: string, fields: OptionFields, withKey: boolean): string {
  const parts = [
    `curl ${quoted(url.href)}`,
    ...(withKey ? ['-H "Authorization: Bearer $API_KEY"'] : []),
    `-F ${quoted(`image=@"${fileName.replace(/["\\]/g, '\\$&')}"`)}`,
    // Unlike -F, which gives a meaning to @, < and ; in a value.
    ...fields.map(([name, value]) => `--form-string ${quoted(`${name}=${value}`)}`),
  ];
  return parts.join(' \\\n  ');
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
