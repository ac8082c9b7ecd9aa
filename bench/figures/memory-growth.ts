import { markdownTable } from '../measure/table.js';
import { median } from '../measure/statistics.js';
import { againstTarget } from '../measure/target.js';
import { createCaptionClient } from '../service/caption-client.js';
import { memoryOfEach } from '../service/process-memory.js';
import { builtService, startService } from '../service/running-service.js';
import { BenchError, type Figure, type FigureContext, type FigureResult } from './figure.js';

const concurrency = 32;
/** What the issue asks for; fewer requests show less. */
const fullRequests = 20_000;
/** Memory goes up and down with what is in flight, so it is read as often, a few answers apart. */
const readings = 9;

/** Whether the service takes more memory the more it has answered. */
export const memoryGrowth: Figure = {
  name: 'memory',
  help: 'memory of all processes after --requests requests against a tenth of them, at concurrency 32',
  measure,
};

async function measure({ photos, requests, progress }: FigureContext): Promise<FigureResult> {
  const early = Math.max(1, Math.round(requests / 10));
  const service = await startService(builtService, { ...process.env, CACHE_SIZE: '0' });
  const client = await createCaptionClient(service.url, photos);
  const samples: { requests: number; bytes: number }[] = [];
  /** Of each process, the HTTP process first: the last readings. */
  let processes: readonly number[] = [];
  let begun = 0;
  let answered = 0;

  async function read(count: number): Promise<void> {
    const each = await memoryOfEach(service.pid);
    if (each === undefined) throw new BenchError('only Linux tells the memory that processes share');
    processes = each;
    samples.push({ requests: count, bytes: each.reduce((sum, bytes) => sum + bytes, 0) });
  }
  /** Readings right before a number of requests, one for each round of answers. */
  const isDue = (count: number): boolean =>
    [early, requests].some(
      (end) => count <= end && count > end - readings * concurrency && (end - count) % concurrency === 0,
    );
  async function askRepeatedly(): Promise<void> {
    while (begun < requests) {
      begun += 1;
      const { status } = await client();
      if (status !== 200) throw new BenchError(`the service answered ${status}`);
      answered += 1;
      const count = answered;
      if (count % 1000 === 0) progress(`${count} of ${requests} requests`);
      if (isDue(count)) await read(count);
    }
  }
  await Promise.all(Array.from({ length: concurrency }, askRepeatedly));
  await service.stop();

  const after = (end: number): number => {
    const near = samples.filter(
      (sample) => sample.requests <= end && sample.requests > end - readings * concurrency,
    );
    return median(near.map(({ bytes }) => bytes));
  };
  const growth = after(requests) / after(early);
  const mebibytes = (bytes: number): string => (bytes / 1024 ** 2).toFixed(0);
  const text = [
    markdownTable(
      ['requests', 'MiB (sum of PSS)'],
      [early, requests].map((end) => [String(end), mebibytes(after(end))]),
    ),
    `of each process at the end, MiB: ${processes.map(mebibytes).join(', ')}; the first is the HTTP process`,
    `memory after ${requests} requests ÷ after ${early}: ${againstTarget(growth, { atMost: 1.05 })}`,
    ...(requests < fullRequests
      ? [`**A shorter run than the ${fullRequests} requests the target is for** (--requests).`]
      : []),
  ].join('\n\n');
  return { text, data: { requests, growth, samples, processes } };
}
