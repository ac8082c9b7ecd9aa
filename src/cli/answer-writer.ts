import { stringify } from 'csv-stringify/sync';
import { errorCodes } from '../errors.js';
import type { Formatter } from './formatters.js';
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
  formatter: Formatter<T>,
  { isTerminal, nameWidth }: TextStyle,
): AnswerWriter<T> {
  const width = Math.min(Math.max(nameWidth, 'image'.length), widestName);
  switch (format) {
    case 'json':
      return { heading: '', write: (answer) => `${JSON.stringify(forJson(answer))}\n` };
    case 'csv':
      return {
        heading: csv([['file', ...formatter.columns, 'error']]),
        write: (answer) => csv(csvRows(answer, formatter)),
      };
    case 'text': {
      const { heading = [] } = formatter;
      const line = (name: string, cells: readonly string[]) => {
        const aligned = cells.map((cell, index) => cell.padEnd(heading[index]?.length ?? 0));
        const text = isTerminal
          ? [name.padEnd(width), ...aligned].join('  ')
          : [name, ...cells.map(printable)].join('\t');
        return `${text.trimEnd()}\n`;
      };
      return {
        heading: heading.length === 0 ? '' : line('image', heading),
        write: (answer) => {
          if ('error' in answer) return '';
          const name = printable(answer.file);
          return formatter
            .lines(answer.result)
            .map((cells) => line(name, cells))
            .join('');
        },
      };
    }
  }
}

/** An entry like those of a batch, with the file in place of the index. */
function forJson<T>(answer: Answer<T>): object {
  if (!('error' in answer)) return answer;
  const { code, detail } = answer.error;
  return { file: answer.file, error: { code, title: errorCodes[code].title, detail } };
}

function csvRows<T>(answer: Answer<T>, formatter: Formatter<T>): unknown[][] {
  if ('error' in answer) return [[answer.file, ...formatter.columns.map(() => null), answer.error.code]];
  return formatter.rows(answer.result).map((cells) => [answer.file, ...cells, null]);
}

/** RFC 4180: lines end with CR LF, and what has a comma, a quote or a line break is quoted. */
function csv(rows: unknown[][]): string {
  return stringify(rows, { record_delimiter: 'windows', cast: { boolean: String } });
}

/** A file's name may hold anything; line breaks, tabs and a terminal's commands are shown as question marks. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}
