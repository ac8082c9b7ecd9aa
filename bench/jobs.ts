/**
 * Jobs: their rate against that of requests, several workers, and memory over many images. `npm run bench` measures the service.
 * Needs redis-server.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, link, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createJobService, type JobService } from '../src/jobs/job-service.js';
import { openQueues } from '../src/jobs/queues.js';
import { BenchError } from './figures/figure.js';
import { median } from './measure/statistics.js';
import { markdownTable } from './measure/table.js';
import { againstTarget } from './measure/target.js';
import { enlargedPhotos } from './photos/enlarged-photos.js';
import { createCaptionClient } from './service/caption-client.js';
import { runClosedLoop } from './service/closed-loop.js';
import { memoryOfTree } from './service/process-memory.js';
import { builtService, startService } from './service/running-service.js';

const usage = `Usage: node dist/bench/jobs.js ratio|workers|memory [options]

  ratio     images/s of a job ÷ the service at concurrency 32, in --rounds pairs of runs; --images for each job
  workers   images/s of two and of four workers ÷ one; --wait ms stand for decoding and inference of an image
  memory    memory of Redis, and of the worker, over a job of --images; the first --real are captioned by the model

  --photos DIR  [../shared/data/images beside the repository]
  --images N    [1500 of ratio, 10000 of workers, 100000 of memory]
  --real N      [5000]
  --rounds N    [5]
  --wait N      [340: 24 images at a time make 70 images/s of it]
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    photos: {
      type: 'string',
      default: fileURLToPath(new URL('../../../shared/data/images', import.meta.url)),
    },
    images: { type: 'string' },
    real: { type: 'string', default: '5000' },
    rounds: { type: 'string', default: '5' },
    wait: { type: 'string', default: '340' },
  },
});
const running: ChildProcess[] = [];

function say(line: string): void {
  console.error(`bench: ${line}`);
}

async function main(): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'pcm-caption-bench-jobs-'));
  try {
    const port = await freePort();
    start('redis-server', [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', root],
      ...['--appendonly', 'yes', '--save', '', '--loglevel', 'warning'],
    ]);
    await answers(port);
    const bench = { root, port, url: `redis://127.0.0.1:${port}` };
    const [what] = positionals;
    if (what === 'ratio') await ratio(bench, Number(values.images ?? 1500));
    else if (what === 'workers') await workers(bench, Number(values.images ?? 10_000));
    else if (what === 'memory') await memory(bench, Number(values.images ?? 100_000));
    else throw new BenchError(usage);
  } finally {
    for (const child of running) child.kill('SIGKILL');
    await rm(root, { recursive: true, force: true, maxRetries: 3 });
  }
}

interface Bench {
  readonly root: string;
  readonly port: number;
  readonly url: string;
}

async function ratio(bench: Bench, images: number): Promise<void> {
  const photos = await enlargedPhotos(values.photos, 400, 1024);
  await fillAlbum(bench.root, photos, images);
  const service = await startService(builtService, {
    ...process.env,
    QUEUE_URL: bench.url,
    JOBS_ROOT: bench.root,
    CACHE_SIZE: '0',
  });
  const client = await createCaptionClient(service.url, photos);
  const queues = openQueues(bench.url, () => undefined);
  const jobs = createJobService(queues, 3_600_000);
  const rows: { requests: number; job: number }[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const loop = await runClosedLoop({ client, concurrency: 32, windowMs: 30_000 });
    const job = await runJob(jobs, bench.root, `ratio-${round}`);
    rows.push({ requests: loop.imagesPerSecond, job: images / job.seconds });
    say(JSON.stringify(rows.at(-1)));
  }
  await queues.close();
  await service.stop();
  const ratios = rows.map(({ requests, job }) => job / requests);
  console.log(
    markdownTable(
      ['round', 'requests, images/s', 'job, images/s', 'ratio'],
      rows.map(({ requests, job }, round) => [
        String(round + 1),
        requests.toFixed(1),
        job.toFixed(1),
        (job / requests).toFixed(3),
      ]),
    ),
  );
  console.log(
    `\njob of ${images} images ÷ service at concurrency 32, median: ${againstTarget(median(ratios), { atLeast: 0.95 })}`,
  );
}

async function workers(bench: Bench, images: number): Promise<void> {
  const photos = await enlargedPhotos(values.photos, 400, 256);
  await fillAlbum(bench.root, photos, images);
  const queues = openQueues(bench.url, () => undefined);
  const jobs = createJobService(queues, 3_600_000);
  const rates = new Map<number, number>();
  const started: ChildProcess[] = [];
  for (const count of [1, 2, 4]) {
    // The first image of each is captioned by the model, and its result is that of all.
    while (started.length < count) started.push(await startWorker(bench, { WAIT_MS: values.wait }));
    // So that none has its first image before it.
    await runJob(jobs, bench.root, `warm-up-${count}`, { prefix: 'few/' });
    const { seconds } = await runJob(jobs, bench.root, `workers-${count}`);
    rates.set(count, images / seconds);
    say(`${count} workers: ${(images / seconds).toFixed(1)} images/s`);
  }
  await queues.close();
  const one = rates.get(1) ?? NaN;
  console.log(
    markdownTable(
      ['workers', 'images/s', '÷ one'],
      [...rates].map(([count, rate]) => [String(count), rate.toFixed(1), (rate / one).toFixed(2)]),
    ),
  );
  console.log(`\ntwo ÷ one: ${againstTarget((rates.get(2) ?? NaN) / one, { atLeast: 1.9 })}`);
  console.log(`four ÷ one: ${againstTarget((rates.get(4) ?? NaN) / one, { atLeast: 3.7 })}`);
}

async function memory(bench: Bench, images: number): Promise<void> {
  const photos = await enlargedPhotos(values.photos, 400, 256);
  await fillAlbum(bench.root, photos, images);
  const worker = await startWorker(bench, { WAIT_MS: '20', REAL: values.real, CONCURRENCY: '48' });
  const queues = openQueues(bench.url, () => undefined);
  const jobs = createJobService(queues, 3_600_000);
  const samples: { done: number; redis: number; worker: number }[] = [];
  const step = images / 10;
  await runJob(jobs, bench.root, 'memory', undefined, async (done) => {
    if (done < samples.length * step) return;
    const all = await memoryOfTree(worker.pid ?? 0);
    samples.push({ done, redis: await redisMemory(bench.port), worker: all ?? NaN });
    say(`${done} images: Redis ${mebibytes(samples.at(-1)?.redis)} MiB, worker ${mebibytes(all)} MiB`);
  });
  await queues.close();
  console.log(
    markdownTable(
      ['images done', 'Redis, used MiB', 'worker and its processes, MiB (PSS)'],
      samples.map(({ done, redis, worker: bytes }) => [String(done), mebibytes(redis), mebibytes(bytes)]),
    ),
  );
  const real = samples.filter(({ done }) => done > Number(values.real));
  const [first, last] = [real[0], real.at(-1)];
  if (first !== undefined && last !== undefined) {
    console.log(`\nworker, last ÷ first after the real ones: ${(last.worker / first.worker).toFixed(3)}`);
  }
}

function mebibytes(bytes = NaN): string {
  return (bytes / 1024 ** 2).toFixed(1);
}

/** Distinct names of the same few photos; `few/` has one for each slot of the workers. */
async function fillAlbum(root: string, photos: readonly string[], images: number): Promise<void> {
  say(`${images} names of ${photos.length} photos`);
  const files: string[] = [];
  await mkdir(join(root, 'files'));
  for (const [index, photo] of photos.entries()) {
    const file = join(root, 'files', `${index}.jpg`);
    await copyFile(photo, file);
    files.push(file);
  }
  for (const [folder, count] of [
    ['few', 4000],
    ['album', images],
  ] as const) {
    for (let index = 0; index < count; index++) {
      const below = join(root, folder, String(Math.floor(index / 1000)).padStart(4, '0'));
      if (index % 1000 === 0) await mkdir(below, { recursive: true });
      const file = files[index % files.length];
      if (file !== undefined) await link(file, join(below, `${index}.jpg`));
    }
  }
}

async function startWorker({ root, url }: Bench, environment: Record<string, string>): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('./jobs/bench-worker.js', import.meta.url));
  const child = start(process.execPath, [file], {
    ...environment,
    QUEUE_URL: url,
    JOBS_ROOT: root,
    WORKERS: '1',
    THREADS: '1',
    DECODERS: '1',
  });
  if (child.stdout !== null) await once(child.stdout, 'data');
  return child;
}

/** Runs a job to its end. */
async function runJob(
  jobs: JobService,
  root: string,
  name: string,
  source: { prefix: string } = { prefix: 'album/' },
  onProgress: (done: number) => Promise<void> = () => Promise.resolve(),
): Promise<{ seconds: number }> {
  const began = performance.now();
  const order = { source, options: {}, output: join(root, 'results', name) };
  const { document } = await jobs.submit(order, 'bench', undefined);
  for (;;) {
    const { document: now, hasEnded } = await jobs.find(document.id, 'bench');
    await onProgress(now.images.captioned);
    if (hasEnded) {
      if (now.status !== 'done' || now.images.failed > 0) throw new BenchError(JSON.stringify(now));
      return { seconds: (performance.now() - began) / 1000 };
    }
    await sleep(200);
  }
}

function start(
  program: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): ChildProcess {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  running.push(child);
  return child;
}

async function redisMemory(port: number): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  socket.write('INFO memory\r\n');
  let text = '';
  for await (const chunk of socket) {
    text += String(chunk);
    if (text.includes('used_memory:')) break;
  }
  return Number(/used_memory:(\d+)/.exec(text)?.[1]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function answers(port: number): Promise<void> {
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => {
        resolve(false);
      });
    });
    if (isOpen) return;
    await sleep(50);
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof BenchError ? error.message : error);
  process.exitCode = 1;
}
