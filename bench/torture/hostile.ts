import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from '../figures/figure.js';
import { percentile } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget } from '../measure/target.js';
import { somePhotos } from '../photos/some-photos.js';
import { builtService, startService } from '../service/running-service.js';
import { serviceMetric, slotsAreFree } from '../service/service-metric.js';
import { createImageServer, hostileActs } from './hostile-acts.js';
import { createMemoryLimit } from './memory-limit.js';
import { countAnswered, OrdinaryClients } from './ordinary-clients.js';
import { createRandom } from './random.js';
import { ownCaptions } from './requests.js';
import { CrossTally, Tally } from './tally.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

const ordinaryClients = 4;
const hostileClients = 4;
/** Of the time, what ordinary clients have for themselves. */
const aloneShare = 1 / 5;
/** Of the 99th percentile beside hostile clients and without them. */
const maxLatencyRatio = 2;
/** The limit of docker/kubernetes/base, and its settings that bear on memory. */
const memoryLimit = 2560 * 1024 ** 2;

/** Image URLs are of the torture's own server. */
const environment = { CACHE_SIZE: '0', ALLOW_URL_IMAGES: 'true', URL_IMAGE_NETWORKS: '127.0.0.0/8' };

export const hostile: Torture = {
  name: 'hostile',
  help: 'ordinary clients, alone and then (--seconds) beside hostile ones, within the memory of the Kubernetes base',
  inflict,
};

async function inflict({ photoFolder, seed, seconds, progress }: TortureContext): Promise<TortureResult> {
  const random = createRandom(seed);
  const photos = await somePhotos(photoFolder, 24);
  const [photo] = photos;
  if (photo === undefined) throw new BenchError('there are no photos');
  const memory = await createMemoryLimit(memoryLimit);
  if (memory === undefined) progress('no memory cgroup can be made here: the memory is not bounded');
  const answeredInLog = new Tally();
  const settings = { ...process.env, ...environment };
  const service = await startService(builtService, settings, countAnswered(answeredInLog), memory?.join);
  const { url: imageServerUrl, server: imageServer } = await createImageServer();
  const own = await ownCaptions(service.url, photos);
  const ordinary = new OrdinaryClients({ url: service.url, photos, own, random });
  const acts = hostileActs({ url: service.url, photo, imageServerUrl, random });
  const fates = new CrossTally();
  const failures: string[] = [];

  /** Ordinary clients, beside some hostile ones. @returns milliseconds to each caption of a single photo */
  async function phase(name: string, phaseSeconds: number, hostiles: number): Promise<number[]> {
    progress(`${name}, ${phaseSeconds.toFixed(0)} s`);
    const over = AbortSignal.timeout(1000 * phaseSeconds);
    const latenciesMs: number[] = [];
    const client = async (): Promise<void> => {
      while (!over.aborted) {
        if (random.below(4) === 0) await ordinary.batch();
        else latenciesMs.push(...[(await ordinary.single()) ?? []].flat());
        await sleep(random.below(100));
      }
    };
    const hostileClient = async (): Promise<void> => {
      while (!over.aborted) {
        const { name: act, right, perform } = random.oneOf(acts);
        const outcome = await perform();
        fates.add(act, outcome);
        if (!right.includes(outcome)) failures.push(`${act}: ${outcome}`);
        await sleep(random.below(200));
      }
    };
    await Promise.all([
      ...Array.from({ length: ordinaryClients }, client),
      ...Array.from({ length: hostiles }, hostileClient),
    ]);
    if (latenciesMs.length === 0) throw new BenchError(`${name}: no photo was captioned`);
    return latenciesMs;
  }

  const alone = await phase('ordinary clients alone', seconds * aloneShare, 0);
  const beside = await phase(`the same beside ${hostileClients} hostile clients`, seconds, hostileClients);
  const restarts = await serviceMetric(service.url, 'pcm_caption_worker_restarts_total');
  await slotsAreFree(service.url);
  await service.stop();
  imageServer.close();
  const used = await memory?.end();

  failures.push(...ordinary.fates.failures, ...ordinary.fates.notOnce(answeredInLog));
  if (restarts > 0) failures.push(`${restarts} inference processes were replaced`);
  if (used !== undefined && used.killed > 0) failures.push(`${used.killed} processes ran out of memory`);
  const p99 = (latenciesMs: readonly number[]) => percentile(latenciesMs, 0.99);
  const row = (name: string, latenciesMs: readonly number[]): string[] => [
    name,
    String(latenciesMs.length),
    percentile(latenciesMs, 0.5).toFixed(0),
    p99(latenciesMs).toFixed(0),
  ];
  const text = [
    `### Ordinary clients beside ${hostileClients} hostile ones for ${seconds} s (seed ${seed})`,
    markdownTable(
      ['single photos', 'captioned', 'p50 ms', 'p99 ms'],
      [row('alone', alone), row('beside hostile clients', beside)],
    ),
    `p99 beside hostile clients ÷ alone: ${againstTarget(p99(beside) / p99(alone), { atMost: maxLatencyRatio })}`,
    ordinary.fates.table(answeredInLog),
    fates.table('hostile request'),
    used === undefined
      ? 'Memory was not bounded: no memory cgroup can be made here.'
      : `Memory: ${mebibytes(used.peakBytes)} of ${mebibytes(memoryLimit)} MiB at most; ${used.killed} processes killed for it.`,
  ].join('\n\n');
  return { text, failures };
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(0);
}
