import { ServiceError } from '../../src/errors.js';
import type { DecodedImage } from '../../src/images/decode.js';
import { answerImages } from '../../src/images/decode-worker.js';
import { fates } from './decode-fates.js';

/** A decode process that does what the width of the target says, and tells its process id in place of a size. */

const kept: Buffer[] = [];
/** Answers the image that is held. */
let letGo: (() => void) | undefined;
let wasSignalled = false;
process.on('SIGUSR2', () => {
  wasSignalled = true;
  letGo?.();
});

answerImages(async (bytes, target): Promise<DecodedImage> => {
  switch (target.width) {
    case fates.hang:
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      break;
    case fates.crash:
      process.kill(process.pid, 'SIGSEGV');
      await new Promise(() => undefined);
      break;
    case fates.abort: {
      const error = new ServiceError('image_unreadable', 'The image is damaged.');
      error.cause = Object.assign(new Error('unreachable'), { name: 'RuntimeError' });
      throw error;
    }
    case fates.grow:
      setInterval(() => kept.push(Buffer.alloc(16 * 1024 ** 2, 1)), 5);
      await new Promise(() => undefined);
      break;
    case fates.hold:
      await new Promise<void>((resolve) => {
        letGo = resolve;
        if (wasSignalled) resolve();
      });
      break;
    default:
      break;
  }
  return { pixels: Uint8Array.of(bytes.length % 256), width: process.pid, height: 1, format: 'png' };
});
