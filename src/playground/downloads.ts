import type { CaptionResult } from '../captioner/results.js';
import { element } from './elements.js';

/** A photo and what came of it. */
export interface DownloadRow {
  readonly file: string;
  readonly result?: CaptionResult | undefined;
  readonly problem?: string | undefined;
}

/** @param rows gives the photos that are shown and answered */
export function offerDownloads(rows: () => readonly DownloadRow[]): void {
  for (const [id, name, type, textOf] of [
    ['#download-csv', 'captions.csv', 'text/csv', csvOfRows],
    ['#download-json', 'captions.json', 'application/json', jsonOfRows],
  ] as const) {
    element(document, id, HTMLButtonElement).addEventListener('click', () => {
      saveFile(name, type, textOf(rows()));
    });
  }
}

/** One object for each photo, with the whole answer but for the patches, which only the page asked for. */
function jsonOfRows(rows: readonly DownloadRow[]): string {
  const left = ['patches', 'gridSize'];
  return `${JSON.stringify(rows, (name, value: unknown) => (left.includes(name) ? undefined : value), 2)}\n`;
}

/** RFC 4180, in UTF-8 with a byte order mark, without which spreadsheets take another encoding. */
function csvOfRows(rows: readonly DownloadRow[]): string {
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
function saveFile(name: string, type: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  // After the browser has begun to read it.
  setTimeout(() => {
    URL.revokeObjectURL(link.href);
  }, 10_000);
}
