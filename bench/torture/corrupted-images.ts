import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { memoryOfTree } from '../service/process-memory.js';
import { builtService, startService } from '../service/running-service.js';
import { serviceMetric } from '../service/service-metric.js';
import { corruptOne, outcomesOfCorrupted } from './corruptions.js';
import { createRandom } from './random.js';
import { isOwn, ownCaptions, postImage } from './requests.js';
import { sourceFiles } from './sources.js';
import { Tally } from './tally.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

const concurrency = 8;
/** A good photo after as many corrupted ones. */
const interval = 100;
/** Of the memory after the first fifth of the images: allocators take a while to have what they need. */
const mostGrowth = 1.25;

export const corruptedImages: Torture = {
  name: 'corrupted',
  help: 'corrupted images of every format (--images), a good photo after every hundred',
  inflict,
};

async function inflict({ photoFolder, seed, images, progress }: TortureContext): Promise<TortureResult> {
  const random = createRandom(seed);
  const photos = await somePhotos(photoFolder, 4);
  const files = await sourceFiles(photos.slice(0, 2));
  const service = await startService(builtService, { ...process.env, CACHE_SIZE: '0' });
  const own = await ownCaptions(service.url, photos);

  const outcomes = new Tally();
  const kinds = new Tally();
  const memory: number[] = [];
  const failures: string[] = [];
  let good = 0;
  for (let done = 0; done < images; done += interval) {
    // Damaged in one go, so that what is sent does not depend on which answer comes first.
    const hundred = Array.from({ length: Math.min(interval, images - done) }, () => ({
      ...corruptOne(files, random),
      way: random.oneOf(['body', 'form'] as const),
    }));
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (let next = hundred.pop(); next !== undefined; next = hundred.pop()) {
          const { outcome } = await postImage(service.url, next.bytes, next.way);
          outcomes.add(outcome);
          kinds.add(next.corruption);
        }
      }),
    );
    const which = (done / interval) % photos.length;
    const reply = await postImage(service.url, photos[which] ?? Buffer.alloc(0), 'form');
    if (isOwn(reply, own[which])) good += 1;
    else failures.push(`a good photo after ${done + interval} images: ${reply.outcome}`);
    const bytes = await memoryOfTree(service.pid);
    if (bytes !== undefined) memory.push(bytes);
    if (done % 500 === 0) progress(`${outcomes.total} of ${images} corrupted images`);
  }
  const restarts = await serviceMetric(service.url, 'pcm_caption_worker_restarts_total');
  await service.stop();

  const wrong = outcomes.unlike(outcomesOfCorrupted);
  if (wrong.length > 0) failures.push(`corrupted images were answered ${wrong.join(', ')}`);
  if (restarts > 0) failures.push(`${restarts} inference processes were replaced`);
  const early = memory[Math.floor(memory.length / 5)] ?? NaN;
  const growth = Math.max(...memory) / early;
  if (growth > mostGrowth) failures.push(`memory grew to ${growth.toFixed(2)} of what it was after a fifth`);
  const text = [
    `### ${outcomes.total} corrupted images (seed ${seed})`,
    outcomes.table('answer'),
    kinds.table('corruption'),
    markdownTable(
      ['', 'measured'],
      [
        ['good photos captioned as before', `${good} of ${Math.ceil(images / interval)}`],
        ['processes replaced', String(restarts)],
        ['memory after a fifth, MiB (sum of PSS)', mebibytes(early)],
        ['memory at most, MiB', mebibytes(Math.max(...memory))],
        ['memory at the end, MiB', mebibytes(memory.at(-1) ?? NaN)],
      ],
    ),
  ].join('\n\n');
  return { text, failures };
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(0);
}
