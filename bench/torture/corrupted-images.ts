import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { builtService, startService } from '../service/running-service.js';
import { serviceMetric } from '../service/service-metric.js';
import { corruptOne, outcomesOfCorrupted } from './corruptions.js';
import { MemoryWatch } from './memory.js';
import { createRandom } from './random.js';
import { isOwn, ownCaptions, postImage } from './requests.js';
import { sourceFiles } from './sources.js';
import { CrossTally, Tally } from './tally.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

const concurrency = 8;
/** A good photo after as many corrupted ones. */
const interval = 100;

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
  const kinds = new CrossTally();
  const memory = new MemoryWatch(1 / 5);
  const failures: string[] = [];
  let good = 0;
  for (let done = 0; done < images; done += interval) {
    // Damaged in one go, so that what is sent does not depend on which answer comes first.
    const hundred = Array.from({ length: Math.min(interval, images - done) }, (_, index) => ({
      number: done + index + 1,
      ...corruptOne(files, random),
      way: random.oneOf(['body', 'form'] as const),
    }));
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (let next = hundred.pop(); next !== undefined; next = hundred.pop()) {
          const { outcome } = await postImage(service.url, next.bytes, next.way);
          outcomes.add(outcome);
          kinds.add(next.format, next.corruption);
          if (!outcomesOfCorrupted.includes(outcome))
            failures.push(`image ${next.number} (${next.format}, ${next.corruption}): ${outcome}`);
        }
      }),
    );
    const which = (done / interval) % photos.length;
    const reply = await postImage(service.url, photos[which] ?? Buffer.alloc(0), 'form');
    if (isOwn(reply, own[which])) good += 1;
    else failures.push(`a good photo after ${done + interval} images: ${reply.outcome}`);
    await memory.look(service.pid);
    if (done % 500 === 0) progress(`${outcomes.total} of ${images} corrupted images`);
  }
  const restarts = await serviceMetric(service.url, 'pcm_caption_worker_restarts_total');
  await service.stop();

  if (restarts > 0) failures.push(`${restarts} inference processes were replaced`);
  failures.push(...memory.failures);
  const text = [
    `### ${outcomes.total} corrupted images (seed ${seed})`,
    outcomes.table('answer'),
    kinds.table('format'),
    markdownTable(
      ['', 'measured'],
      [
        ['good photos captioned as before', `${good} of ${Math.ceil(images / interval)}`],
        ['processes replaced', String(restarts)],
        ...memory.rows,
      ],
    ),
  ].join('\n\n');
  return { text, failures };
}
