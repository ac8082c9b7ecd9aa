import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from '../figures/figure.js';
import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { processTree } from '../service/process-memory.js';
import { builtService, type RunningService, startService } from '../service/running-service.js';
import { serviceMetric } from '../service/service-metric.js';
import { corruptOne, outcomesOfCorrupted } from './corruptions.js';
import { MemoryWatch } from './memory.js';
import { createRandom } from './random.js';
import { type Kind, RequestFates } from './request-fates.js';
import { isOwn, ownCaptions, postBatch, postImage, type Reply } from './requests.js';
import { sourceFiles } from './sources.js';
import { Tally } from './tally.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

/** A short queue, so that it overflows; and time enough for whatever is admitted, on a machine that is slow and loses processes. */
const environment = { CACHE_SIZE: '0', MAX_QUEUE_IMAGES: '64', REQUEST_TIMEOUT_MS: '240000' };
const clients = 6;
/** Requests at once that the queue cannot take. */
const burst = 150;
const itsOwn = 'its own caption';

export const mixedLoad: Torture = {
  name: 'load',
  help: 'mixed load (--seconds) while processes are killed and stopped, clients leave, and more comes than can be answered',
  inflict,
};

async function inflict(context: TortureContext): Promise<TortureResult> {
  const { photoFolder, seed, seconds, progress } = context;
  const random = createRandom(seed);
  const photos = await somePhotos(photoFolder, 24);
  const files = await sourceFiles(photos.slice(0, 1));
  const answeredInLog = new Tally();
  const service = await startService(builtService, { ...process.env, ...environment }, (line) => {
    const id = /"reqId":"(torture-\d+)".*"msg":"answered"/.exec(line)?.[1];
    if (id !== undefined) answeredInLog.add(id);
  });
  const own = await ownCaptions(service.url, photos);

  const fates = new RequestFates();
  const outcomes = new Tally();
  const memory = new MemoryWatch(1 / 2);
  let sent = 0;
  let left = 0;

  /** @param which the photos that the replies are to, or undefined where any proper answer is right */
  function judge(kind: Kind, id: string, replies: readonly Reply[], which?: readonly number[]): void {
    const ends = replies.map((reply, place) => {
      if (which === undefined) return reply.outcome;
      if (isOwn(reply, own[which[place] ?? NaN])) return itsOwn;
      return reply.outcome === '200' ? 'ANOTHER caption' : reply.outcome;
    });
    for (const end of ends) outcomes.add(`${kind}: ${end}`);
    const right = which === undefined ? outcomesOfCorrupted : [itsOwn];
    fates.add(kind, id, ends, right);
  }

  const somePhoto = (): number => random.below(photos.length);
  const photo = (which: number): Buffer => photos[which] ?? Buffer.alloc(0);
  const newId = (): string => `torture-${sent++}`;

  async function single(): Promise<void> {
    const [which, id] = [somePhoto(), newId()];
    const reply = await postImage(service.url, photo(which), random.oneOf(['body', 'form'] as const), { id });
    judge('single', id, [reply], [which]);
  }
  async function batch(): Promise<void> {
    const id = newId();
    const which = Array.from({ length: 1 + random.below(8) }, somePhoto);
    const accept = random.oneOf(['application/json', 'application/x-ndjson'] as const);
    const replies = await postBatch(service.url, which.map(photo), accept, id);
    judge('batch', id, replies, which);
  }
  async function corrupted(): Promise<void> {
    const id = newId();
    judge('corrupted', id, [await postImage(service.url, corruptOne(files, random).bytes, 'body', { id })]);
  }
  async function leaving(): Promise<void> {
    const client = new AbortController();
    const timer = setTimeout(() => {
      client.abort();
    }, random.below(1000));
    try {
      await postImage(service.url, photo(somePhoto()), 'form', { signal: client.signal });
    } catch (error) {
      if (!client.signal.aborted) throw error;
      left += 1;
    }
    clearTimeout(timer);
  }

  const over = new AbortController();
  const isOver = (): boolean => over.signal.aborted;
  async function client(): Promise<void> {
    while (!isOver()) {
      await random.oneOf([single, single, single, single, batch, batch, corrupted, leaving])();
      // A client that is turned away waits a little.
      await sleep(random.below(100));
    }
  }
  /** Does something every so often while the load lasts. */
  async function every(periodSeconds: number, action: () => Promise<void>): Promise<void> {
    while (!isOver()) {
      await sleep(1000 * periodSeconds, undefined, { signal: over.signal }).catch(() => undefined);
      if (!isOver()) await action();
    }
  }
  const signals: Record<'SIGKILL' | 'SIGSTOP', number> = { SIGKILL: 0, SIGSTOP: 0 };
  async function strike(): Promise<void> {
    const workers = (await processTree(service.pid)).filter((pid) => pid !== service.pid);
    if (workers.length === 0) return;
    const signal = random.oneOf(['SIGKILL', 'SIGSTOP'] as const);
    process.kill(random.oneOf(workers), signal);
    signals[signal] += 1;
  }

  const began = performance.now();
  setTimeout(() => {
    over.abort();
  }, 1000 * seconds);
  await Promise.all([
    ...Array.from({ length: clients }, client),
    // Apart by more than it takes to notice a process that hangs: whoever is in three crashes is to blame for them.
    every(Math.max(9, seconds / 25), strike),
    every(Math.max(5, seconds / 12), async () => {
      await Promise.all(Array.from({ length: burst }, single));
    }),
    every(Math.max(2, seconds / 20), async () => {
      await memory.look(service.pid);
      progress(`${sent} requests in ${((performance.now() - began) / 1000).toFixed(0)} s`);
    }),
  ]);
  const restarts = await serviceMetric(service.url, 'pcm_caption_worker_restarts_total');
  await placesAreFree(service);
  await service.stop();

  const { failures } = fates;
  failures.push(...fates.notOnce(answeredInLog), ...memory.failures);
  const text = [
    `### ${sent} requests in ${seconds} s of mixed load, and ${left} clients that left (seed ${seed})`,
    fates.table(answeredInLog),
    outcomes.table('answer to each image'),
    markdownTable(
      ['', 'measured'],
      [
        ['processes killed', String(signals.SIGKILL)],
        ['processes stopped', String(signals.SIGSTOP)],
        ['processes replaced', String(restarts)],
        ...memory.rows,
      ],
    ),
  ].join('\n\n');
  return { text, failures };
}

/** Whoever leaves gives the place back, be it a little later. */
async function placesAreFree({ url }: RunningService): Promise<void> {
  const deadline = performance.now() + 60_000;
  while ((await serviceMetric(url, 'pcm_caption_places_used')) > 0) {
    if (performance.now() > deadline)
      throw new BenchError('places stay taken though nobody asks for anything');
    await sleep(200);
  }
}
