import { stringify } from 'csv-stringify/sync';
import { problems } from '../problem.js';
import type { Layout } from './layouts.js';
import type { Answer } from './local-model.js';

export type OutputFormat = 'text' | 'json' | 'csv';

/** The output of a command, piece by piece; each piece is whole lines. */
export interface AnswerWriter<T> {
  readonly heading: string;
  readonly write: (answer: Answer<T>) => string;
}

export interface TextStyle {
  /** Names are padded for the eye; without it lines have tabs, for other programs. */
  readonly isTerminal: boolean;
  /** Characters of the longest name. */
  readonly nameWidth: number;
}

/** Longer names push their line to the right. */
const widestName = 40;

/** JSON and CSV have something to say of every input; in text, what failed is left to standard error. */
export function createAnswerWriter<T>(
  format: OutputFormat,
  layout: Layout<T>,
  { isTerminal, nameWidth }: TextStyle,
): AnswerWriter<T> {
  const width = Math.min(nameWidth, widestName);
  switch (format) {
    case 'json':
      return { heading: '', write: (answer) => `${JSON.stringify(forJson(answer))}\n` };
    case 'csv':
      return {
        heading: csv([['file', ...layout.columns, 'error']]),
        write: (answer) => csv(csvRows(answer, layout)),
      };
    case 'text':
      return {
        heading: '',
        write: (answer) => {
          if ('error' in answer) return '';
          const name = printable(answer.file);
          const line = (cells: readonly string[]) =>
            isTerminal
              ? [name.padEnd(width), ...cells].join('  ')
              : [name, ...cells.map(printable)].join('\t');
          return layout
            .lines(answer.result)
            .map((cells) => `${line(cells).trimEnd()}\n`)
            .join('');
        },
      };
  }
}

/** An entry like those of a batch, with the file in place of the index. */
function forJson<T>(answer: Answer<T>): object {
  if (!('error' in answer)) return answer;
  const { code, detail } = answer.error;
  return { file: answer.file, error: { code, title: problems[code].title, detail } };
}

function csvRows<T>(answer: Answer<T>, layout: Layout<T>): unknown[][] {
  if ('error' in answer) return [[answer.file, ...layout.columns.map(() => null), answer.error.code]];
  return layout.rows(answer.result).map((cells) => [answer.file, ...cells, null]);
}

/** RFC 4180: lines end with CR LF, and what has a comma, a quote or a line break is quoted. */
function csv(rows: unknown[][]): string {
  return stringify(rows, { record_delimiter: 'windows', cast: { boolean: String } });
}

/** A file's name may hold anything; line breaks, tabs and a terminal's commands are shown as question marks. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}
