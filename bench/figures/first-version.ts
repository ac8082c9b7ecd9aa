import { median } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget } from '../measure/target.js';
import { createCaptionClient } from '../service/caption-client.js';
import { buildVersion } from '../service/other-version.js';
import { builtService, startService } from '../service/running-service.js';
import { servedModel } from '../service/served-model.js';
import { measureService } from '../service/service-window.js';
import type { Figure, FigureContext, FigureResult } from './figure.js';

const rounds = 3;
const concurrency = 32;
const warmUpMs = 3000;

/** This version of the service against an earlier one, each with its own code and its own embedded bundle. */
export const firstVersion: Figure = {
  name: 'first-version',
  help: 'the service against the first version, at concurrency 32; both are built, and run in turn',
  measure,
};

async function measure({ photos, seconds, baseline, progress }: FigureContext): Promise<FigureResult> {
  const environment = { ...process.env, CACHE_SIZE: '0' };
  progress(`building ${baseline}`);
  const first = await buildVersion(baseline);
  const windowMs = (1000 * seconds) / rounds / 2;
  // Only one runs at a time: an idle service takes memory, and its heartbeats a little time.
  const measureOnce = async (main: string) => {
    const service = await startService(main, environment);
    const { id, version, precision } = await servedModel(service.url);
    const client = await createCaptionClient(service.url, photos);
    await measureService(service, client, concurrency, warmUpMs);
    const { imagesPerSecond } = await measureService(service, client, concurrency, windowMs);
    await service.stop();
    return { imagesPerSecond, model: `${id} ${version}, ${precision}` };
  };
  type Measured = Awaited<ReturnType<typeof measureOnce>>;
  const results: { now: Measured; then: Measured }[] = [];
  try {
    for (let round = 1; round <= rounds; round += 1) {
      const now = await measureOnce(builtService);
      const then = await measureOnce(first.main);
      results.push({ now, then });
      progress(
        `round ${round}: ${now.imagesPerSecond.toFixed(1)} images/s, then ${then.imagesPerSecond.toFixed(1)}`,
      );
    }
  } finally {
    await first.remove();
  }
  const ratio = median(results.map(({ now, then }) => now.imagesPerSecond / then.imagesPerSecond));
  const row = (name: string, measured: readonly Measured[]): string[] => [
    `${name}: ${measured[0]?.model ?? ''}`,
    median(measured.map(({ imagesPerSecond }) => imagesPerSecond)).toFixed(1),
  ];
  const text = [
    markdownTable(
      [`concurrency ${concurrency}`, 'images/s'],
      [
        row(
          'this version',
          results.map(({ now }) => now),
        ),
        row(
          first.name,
          results.map(({ then }) => then),
        ),
      ],
    ),
    `this version ÷ ${first.name}: ${againstTarget(ratio, { atLeast: 1.3 })}`,
  ].join('\n\n');
  return { text, data: { baseline: first.name, ratio, rounds: results } };
}
