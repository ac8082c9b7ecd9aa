import { fileURLToPath } from 'node:url';
import { receiveBytes } from '../child-process.js';
import { type ErrorCode, ServiceError } from '../errors.js';
import { type DecodedImage, decodeImage, type PixelTarget } from './decode.js';
import type { DecodeLimits } from './limits.js';

/** One image to decode, whose file follows through the pipe for bytes; it is answered before the next one is sent. */
export interface DecodeCommand {
  readonly fileBytes: number;
  readonly target: PixelTarget;
  readonly limits: DecodeLimits;
}

export type DecodeAnswer =
  /** The process has loaded the decoder and takes images. */
  | { readonly type: 'ready' }
  | { readonly type: 'decoded'; readonly image: DecodedImage }
  /** The image is refused; `cause` is for the log. */
  | {
      readonly type: 'refused';
      readonly code: ErrorCode;
      readonly detail: string;
      readonly cause: string | undefined;
    }
  | { readonly type: 'failed'; readonly message: string };

/** What a decode process does: one image at a time. What hangs or crashes here costs its own image only. */
export function answerImages(decode: typeof decodeImage): void {
  const send = (answer: DecodeAnswer): void => void process.send?.(answer);

  async function answerTo({ fileBytes, target, limits }: DecodeCommand): Promise<DecodeAnswer> {
    try {
      return { type: 'decoded', image: await decode(receiveBytes(fileBytes), target, limits) };
    } catch (error) {
      if (!(error instanceof ServiceError)) {
        const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
        return { type: 'failed', message };
      }
      const { code, detail, cause } = error;
      // A WebAssembly module that aborted has its memory in an unknown state, so that the process ends like one that crashed.
      if (cause instanceof Error && cause.name === 'RuntimeError') {
        process.stderr.write(`${cause.message}\n`);
        process.exit(1);
      }
      return { type: 'refused', code, detail, cause: cause instanceof Error ? cause.message : undefined };
    }
  }

  // The serving process sends nothing else, and both ends are the same program.
  process.on('message', (command: DecodeCommand) => {
    void answerTo(command).then(send);
  });
  // The serving process has gone.
  process.on('disconnect', () => process.exit(0));
  // A terminal's Ctrl-C reaches this process too; the serving process decides when it ends.
  process.on('SIGINT', () => undefined);
  send({ type: 'ready' });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) answerImages(decodeImage);
