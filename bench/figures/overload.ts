import { readConfig } from '../../src/config.js';
import { percentile } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget, allOf } from '../measure/target.js';
import { type Answer, createCaptionClient } from '../service/caption-client.js';
import { eventLoopDelayP99 } from '../service/event-loop-delay.js';
import { type OpenLoopResult, runOpenLoop } from '../service/open-loop.js';
import { builtService, startService } from '../service/running-service.js';
import { measureService } from '../service/service-window.js';
import type { Figure, FigureContext, FigureResult } from './figure.js';

/** Enough to keep every worker busy with whole batches. */
const fullConcurrency = 64;
const overloadFactor = 4;
/** Parts of the time: finding the rate that the service can take, that load, four times that load. */
const share = { capacity: 0.2, once: 0.4, overload: 0.4 };

/** What the service does when more comes than it can answer. */
export const overload: Figure = {
  name: 'overload',
  help: 'images/s at four times the load the service can take against that load; refusals and their times',
  measure,
};

async function measure({ photos, seconds, progress }: FigureContext): Promise<FigureResult> {
  const environment = { ...process.env, CACHE_SIZE: '0' };
  const { requestTimeoutMs } = readConfig(environment);
  progress('starting the service');
  const service = await startService(builtService, environment);
  const client = await createCaptionClient(service.url, photos);
  await measureService(service, client, fullConcurrency, 3000);
  const full = await measureService(service, client, fullConcurrency, 1000 * seconds * share.capacity);
  const load = async (
    factor: number,
    part: number,
  ): Promise<OpenLoopResult & { eventLoopDelayMs?: number }> => {
    const perSecond = factor * full.imagesPerSecond;
    progress(`sending ${perSecond.toFixed(1)} photos a second`);
    let eventLoopDelayMs: number | undefined;
    const result = await runOpenLoop({
      client,
      perSecond,
      windowMs: 1000 * seconds * part,
      // The queue fills up, or finds its length, before anything is counted.
      leadMs: 500 * seconds * part,
      async onOpen() {
        await eventLoopDelayP99(service.url); // begins afresh
      },
      async onClose() {
        eventLoopDelayMs = await eventLoopDelayP99(service.url);
      },
    });
    return { ...result, ...(eventLoopDelayMs !== undefined && { eventLoopDelayMs }) };
  };
  const once = await load(1, share.once);
  const over = await load(overloadFactor, share.overload);
  await service.stop();

  const accepted = over.answers.filter(({ status }) => status === 200);
  const others = over.answers.filter(({ status }) => status !== 200);
  const refused = others.filter(({ status, code }) => status === 503 && code === 'queue_full');
  const inTime = accepted.filter(({ latencyMs }) => latencyMs <= requestTimeoutMs);
  const ratio = over.completedPerSecond / once.completedPerSecond;
  const text = [
    markdownTable(
      ['', 'sent/s', 'captioned/s', 'p50 ms', 'p99 ms', 'event loop p99 ms'],
      [row('1 × the load', once), row(`${overloadFactor} × the load`, over)],
    ),
    markdownTable(
      ['', 'measured'],
      [
        [`images/s at ${overloadFactor} × ÷ at 1 ×`, againstTarget(ratio, { atLeast: 0.85 })],
        ['of the answers beyond capacity, 503 queue_full', allOf(refused.length, others.length)],
        [`of the captions, within ${requestTimeoutMs} ms`, allOf(inTime.length, accepted.length)],
        ['time to 503, p50', latency(refused, 0.5)],
        ['time to 503, p99', latency(refused, 0.99)],
      ],
    ),
  ].join('\n\n');
  const statuses = Object.fromEntries(
    [...new Set(over.answers.map(({ status }) => status))].map((status) => [
      status,
      over.answers.filter((answer) => answer.status === status).length,
    ]),
  );
  return {
    text,
    data: {
      ratio,
      capacity: full.imagesPerSecond,
      once: once.completedPerSecond,
      overload: over.completedPerSecond,
      statuses,
      refusedMs: refused.map(({ latencyMs }) => latencyMs),
    },
  };
}

function row(name: string, result: OpenLoopResult & { eventLoopDelayMs?: number }): string[] {
  const captioned = result.answers.filter(({ status }) => status === 200);
  return [
    name,
    result.sentPerSecond.toFixed(1),
    result.completedPerSecond.toFixed(1),
    latency(captioned, 0.5),
    latency(captioned, 0.99),
    result.eventLoopDelayMs?.toFixed(0) ?? 'not exposed',
  ];
}

function latency(answers: readonly Answer[], part: number): string {
  if (answers.length === 0) return 'none';
  return percentile(
    answers.map(({ latencyMs }) => latencyMs),
    part,
  ).toFixed(0);
}
