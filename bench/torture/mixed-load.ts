import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { processTree } from '../service/process-memory.js';
import { builtService, startService } from '../service/running-service.js';
import { serviceMetric, slotsAreFree } from '../service/service-metric.js';
import { corruptOne } from './corruptions.js';
import { MemoryWatch } from './memory.js';
import { countAnswered, OrdinaryClients } from './ordinary-clients.js';
import { createRandom } from './random.js';
import { ownCaptions } from './requests.js';
import { sourceFiles } from './sources.js';
import { Tally } from './tally.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

/** A short queue, so that it overflows; and time enough for whatever is admitted, on a machine that is slow and loses processes. */
const environment = { CACHE_SIZE: '0', MAX_QUEUE_IMAGES: '64', REQUEST_TIMEOUT_MS: '240000' };
const clients = 6;
/** Requests at once that the queue cannot take. */
const burst = 150;

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
  const settings = { ...process.env, ...environment };
  const service = await startService(builtService, settings, countAnswered(answeredInLog));
  const own = await ownCaptions(service.url, photos);

  const ordinary = new OrdinaryClients({ url: service.url, photos, own, random });
  const memory = new MemoryWatch(1 / 2);
  let left = 0;
  const single = async (): Promise<void> => {
    await ordinary.single();
  };
  const batch = (): Promise<void> => ordinary.batch();
  const corrupted = (): Promise<void> => ordinary.corrupted(corruptOne(files, random).bytes);
  const leaving = async (): Promise<void> => {
    if (await ordinary.leaving()) left += 1;
  };

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
  let stoppedDecoders = 0;
  async function strike(): Promise<void> {
    const workers = (await processTree(service.pid)).filter((pid) => pid !== service.pid);
    if (workers.length === 0) return;
    const signal = random.oneOf(['SIGKILL', 'SIGSTOP'] as const);
    const victim = random.oneOf(workers);
    if (signal === 'SIGSTOP' && (await isDecoder(victim))) stoppedDecoders += 1;
    process.kill(victim, signal);
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
      progress(`${ordinary.sent} requests in ${((performance.now() - began) / 1000).toFixed(0)} s`);
    }),
  ]);
  const restarts = await serviceMetric(service.url, 'pcm_caption_worker_restarts_total');
  await slotsAreFree(service.url);
  await service.stop();

  const { fates, outcomes, sent } = ordinary;
  const failures = exceptImagesOf(stoppedDecoders, fates.failures);
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
        ['of these, decode processes, which cost an image each', String(stoppedDecoders)],
        ['processes replaced', String(restarts)],
        ...memory.rows,
      ],
    ),
  ].join('\n\n');
  return { text, failures };
}

async function isDecoder(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).includes('decode-worker');
}

/** A decode process that is stopped costs the one image that it has or gets next, as one that takes too long does. */
function exceptImagesOf(stopped: number, failures: readonly string[]): string[] {
  let left = stopped;
  return failures.filter((failure) => !(failure.endsWith(': 422 image_too_complex') && left-- > 0));
}
