import type { CaptionResult } from '../captioner/results.js';

/** A photo and what came of it. */
export interface DownloadRow {
  readonly file: string;
  readonly result?: CaptionResult | undefined;
  readonly problem?: string | undefined;
}

/** One object for each photo, with the whole answer. */
export function jsonOfRows(rows: readonly DownloadRow[]): string {
  return `${JSON.stringify(rows, null, 2)}\n`;
}

/** RFC 4180, in UTF-8 with a byte order mark, without which spreadsheets take another encoding. */
export function csvOfRows(rows: readonly DownloadRow[]): string {
  const lines = rows.map(({ file, result, problem }) => [
    file,
    result?.caption ?? '',
    result === undefined ? '' : String(result.confidence),
    (result?.tags ?? []).map(({ word }) => word).join(' '),
    (result?.concepts ?? []).map(({ word }) => word).join(' '),
    result === undefined ? '' : String(result.image.width),
    result === undefined ? '' : String(result.image.height),
    problem ?? '',
  ]);
  const heading = ['file', 'caption', 'confidence', 'tags', 'concepts', 'width', 'height', 'problem'];
  return `\uFEFF${[heading, ...lines].map((cells) => `${cells.map(cell).join(',')}\r\n`).join('')}`;
}

/** A text that begins as a formula would run in a spreadsheet. */
function cell(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

/** Hands a text to the browser as a file. */
export function saveFile(name: string, type: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  // After the browser has begun to read it.
  setTimeout(() => {
    URL.revokeObjectURL(link.href);
  }, 10_000);
}
