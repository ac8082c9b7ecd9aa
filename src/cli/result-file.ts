import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { CaptionResultSchema } from '../captioner/results.js';
import { errorCodes, type ServiceError } from '../errors.js';
import { fileProblem } from '../library/files.js';
import { UsageError } from './exit-codes.js';

/** A caption, of one content, and where it was written beside. */
const CaptionLineSchema = Type.Object({
  file: Type.String(),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  result: CaptionResultSchema,
  written: Type.Optional(Type.String()),
});
export type CaptionLine = Static<typeof CaptionLineSchema>;

const isCaptionLine = Compile(CaptionLineSchema);
const isFailureLine = Compile(
  Type.Object({ file: Type.String(), error: Type.Object({ code: Type.String() }) }),
);

/** What the lines of a resumed file must be of, to count as done. */
export interface Wanted {
  readonly model: { readonly id: string; readonly version: string };
  readonly written: string | undefined;
}

const lineFeed = 0x0a;
const pieceBytes = 256 * 1024;

/**
 * The file of `--out`: a JSON object on a line for each image, of which the last one of a name holds. Lines are only added,
 * so whatever ends the program loses at most the line that was being written, and a resumed run cuts that off.
 *
 * Of the lines it had at first it holds two digests of 16 bytes, and where they begin.
 */
export class ResultFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  /** What the last line of a name said at first, as a run has each name once: the content captioned, or an error's code. */
  readonly #last = new Map<string, string>();
  /** Where the line of a content begins. */
  readonly #offsets = new Map<string, number>();
  #bytes = 0;
  /** Lines in the file that are no answers, and are left where they are. */
  foreignLines = 0;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  /**
   * @param wanted of a run that goes on with the file; otherwise there must be none
   * @throws UsageError; ServiceError of the file
   */
  static async open(path: string, wanted: Wanted | undefined): Promise<ResultFile> {
    const handle = await open(path, wanted === undefined ? 'ax+' : 'a+').catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
        throw new UsageError(`${path} exists: go on with it by --resume, or name another file`);
      }
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
        throw new UsageError(`the folder of ${path} does not exist`);
      }
      throw fileProblem(error);
    });
    if (!(await handle.stat()).isFile()) {
      await handle.close();
      throw new UsageError(`${path} is not a file`);
    }
    const file = new ResultFile(handle, path);
    if (wanted !== undefined) await file.#load(wanted);
    return file;
  }

  /** Whether the file has this answer. */
  isDone(name: string, sha256: string): boolean {
    return this.#last.get(digest(name)) === digest(sha256);
  }

  /** The answer to the same content, under whatever name. */
  async find(sha256: string): Promise<CaptionLine | undefined> {
    const offset = this.#offsets.get(digest(sha256));
    if (offset === undefined) return undefined;
    const line = parseLine(await this.#readLine(offset));
    return isCaptionLine.Check(line) ? line : undefined;
  }

  async addCaption(line: CaptionLine): Promise<void> {
    await this.#append(line);
  }

  /** A failure that the last line of this name has already is not added once more. */
  async addFailure(file: string, { code, detail }: ServiceError): Promise<void> {
    if (this.#last.get(digest(file)) === code) return;
    await this.#append({ file, error: { code, title: errorCodes[code].title, detail } });
  }

  async close(): Promise<void> {
    try {
      await this.#handle.sync();
    } finally {
      await this.#handle.close();
    }
  }

  async #append(line: object): Promise<void> {
    try {
      await this.#handle.appendFile(`${JSON.stringify(line)}\n`);
    } catch (error) {
      throw fileProblem(error);
    }
  }

  async #load({ model, written }: Wanted): Promise<void> {
    for await (const [offset, text] of this.#lines()) {
      const line = parseLine(text);
      if (isCaptionLine.Check(line)) {
        const { result } = line;
        const [name, content] = [digest(line.file), digest(line.sha256)];
        const isOfModel = result.model.id === model.id && result.model.version === model.version;
        if (isOfModel) this.#offsets.set(content, offset);
        const isWritten = written === undefined || line.written === written;
        // What is done in the way that is wanted stays so when the same content is written in another way.
        if (isOfModel && (isWritten || this.#last.get(name) === content)) this.#last.set(name, content);
        else this.#last.delete(name);
      } else if (isFailureLine.Check(line)) this.#last.set(digest(line.file), line.error.code);
      else this.foreignLines += 1;
    }
    const { size } = await this.#handle.stat();
    // What comes after the last line feed was being written when the program ended.
    if (size > this.#bytes) await this.#handle.truncate(this.#bytes);
  }

  /** The whole lines, and where each begins. */
  async *#lines(): AsyncGenerator<[offset: number, text: string]> {
    let rest = Buffer.alloc(0);
    for await (const piece of this.#handle.createReadStream({ start: 0, autoClose: false })) {
      if (!Buffer.isBuffer(piece)) throw new Error(`${this.#path} does not give bytes`);
      const bytes = Buffer.concat([rest, piece]);
      let start = 0;
      for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
        yield [this.#bytes, bytes.toString('utf8', start, end)];
        this.#bytes += end + 1 - start;
        start = end + 1;
      }
      rest = bytes.subarray(start);
    }
  }

  async #readLine(offset: number): Promise<string> {
    const pieces: Buffer[] = [];
    for (let position = offset; ; position += pieceBytes) {
      const { buffer, bytesRead } = await this.#handle.read(
        Buffer.alloc(pieceBytes),
        0,
        pieceBytes,
        position,
      );
      const piece = buffer.subarray(0, bytesRead);
      const end = piece.indexOf(lineFeed);
      pieces.push(end < 0 ? piece : piece.subarray(0, end));
      if (end >= 0 || bytesRead === 0) return Buffer.concat(pieces).toString('utf8');
    }
  }
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Half of a SHA-256, as a text of 16 bytes: no two of a trillion are equal by chance. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest().toString('latin1', 0, 16);
}
