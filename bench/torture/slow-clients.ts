import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { percentile } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { builtService, startService } from '../service/running-service.js';
import { serviceMetric } from '../service/service-metric.js';
import { isOwn, ownCaptions, postImage } from './requests.js';
import { Tally } from './tally.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

/** A client that is turned away comes again as often. */
const mostAttempts = 5;
/** Photos that others want captioned, side by side. */
const concurrency = 4;

/** Ways to be slow: what is sent at once, and what after it, a byte a second. */
const slowness = {
  'header fields': { head: 'POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ', readsAnswer: true },
  body: {
    head: 'POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n',
    readsAnswer: true,
  },
  reading: { head: 'GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nX-Slow: a\r\n\r\n', readsAnswer: false },
} as const;
type Slowness = keyof typeof slowness;
/** More slow bodies than the queue has slots, when clients are 500. */
const kinds: readonly Slowness[] = ['body', 'header fields', 'body', 'reading', 'body'];

export const slowClients: Torture = {
  name: 'slow',
  help: 'slow clients (--clients) that send a byte a second or do not read, while the photos of others are captioned',
  inflict,
};

async function inflict(context: TortureContext): Promise<TortureResult> {
  const { photoFolder, clients, progress } = context;
  const photos = await somePhotos(photoFolder, 12);
  const service = await startService(builtService, { ...process.env, CACHE_SIZE: '0' });
  const own = await ownCaptions(service.url, photos);

  /** Asks for so many captions, waits where it is told to, and tells how that went. */
  async function others(count: number): Promise<Served> {
    const served: Served = {
      right: 0,
      turnedAway: 0,
      latenciesMs: [],
      outcomes: new Tally(),
      unanswered: [],
    };
    let next = 0;
    async function askRepeatedly(): Promise<void> {
      while (next < count) {
        const number = ++next;
        const which = number % photos.length;
        for (let attempt = 1; attempt <= mostAttempts; attempt += 1) {
          const began = performance.now();
          const reply = await postImage(service.url, photos[which] ?? Buffer.alloc(0), 'form');
          if (reply.outcome === '503 queue_full' && attempt < mostAttempts) {
            served.turnedAway += 1;
            await sleep(1000);
            continue;
          }
          served.outcomes.add(reply.outcome);
          if (reply.outcome.startsWith('no answer'))
            served.unanswered.push(`photo ${number}: ${reply.outcome}`);
          served.latenciesMs.push(performance.now() - began);
          if (isOwn(reply, own[which])) served.right += 1;
          break;
        }
      }
    }
    await Promise.all(Array.from({ length: concurrency }, askRepeatedly));
    return served;
  }

  const count = Math.max(20, Math.floor(clients / 5));
  progress(`captioning ${count} photos without slow clients`);
  const without = await others(count);
  const crowd = new Crowd(service.url, clients);
  await crowd.connected();
  progress(`captioning ${count} photos while ${clients} slow clients are connected`);
  const openAtFirst = crowd.open;
  const beside = await others(count);
  const openAtLast = crowd.open;
  crowd.leave();
  const restarts = await serviceMetric(service.url, 'pcm_caption_worker_restarts_total');
  await service.stop();

  const failures = [without, beside].flatMap(({ right, outcomes, unanswered }) =>
    right === count
      ? []
      : [
          ...unanswered,
          `${count - right} of ${count} photos were not captioned: ${outcomes.unlike(['200']).join(', ')}`,
        ],
  );
  if (openAtFirst < clients * 0.9) failures.push(`only ${openAtFirst} slow clients were connected`);
  if (restarts > 0) failures.push(`${restarts} inference processes were replaced`);
  const row = (name: string, { right, turnedAway, latenciesMs }: Served): string[] => [
    name,
    `${right} of ${count}`,
    String(turnedAway),
    percentile(latenciesMs, 0.5).toFixed(0),
    percentile(latenciesMs, 0.99).toFixed(0),
  ];
  const text = [
    `### ${clients} slow clients: ${openAtFirst} connected at the beginning, ${openAtLast} at the end`,
    markdownTable(
      ['photos of others', 'captioned', 'told to come again', 'p50 ms', 'p99 ms'],
      [row('without slow clients', without), row('beside them', beside)],
    ),
    crowd.ends.table('how slow clients were ended, before they came again'),
  ].join('\n\n');
  return { text, failures };
}

interface Served {
  right: number;
  turnedAway: number;
  readonly latenciesMs: number[];
  /** Of the last attempt. */
  readonly outcomes: Tally;
  /** In words, which. */
  readonly unanswered: string[];
}

/** Slow clients, each of which comes again a second after it was sent away. */
class Crowd {
  readonly ends = new Tally();
  readonly #sockets = new Map<Socket, Slowness>();
  readonly #port: number;
  readonly #trickle: NodeJS.Timeout;
  #hasLeft = false;

  constructor(url: string, count: number) {
    this.#port = Number(new URL(url).port);
    for (let client = 0; client < count; client += 1) this.#connect(kinds[client % kinds.length] ?? 'body');
    this.#trickle = setInterval(() => {
      for (const [socket, kind] of this.#sockets) if (slowness[kind].readsAnswer) socket.write('a');
    }, 1000);
  }

  get open(): number {
    return [...this.#sockets.keys()].filter((socket) => socket.readyState === 'open').length;
  }

  /** Resolves when all that were begun at first have been accepted, or a little later when some are not. */
  async connected(): Promise<void> {
    await sleep(3000);
  }

  leave(): void {
    this.#hasLeft = true;
    clearInterval(this.#trickle);
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  #connect(kind: Slowness): void {
    const { head, readsAnswer } = slowness[kind];
    const socket = connect(this.#port, '127.0.0.1');
    this.#sockets.set(socket, kind);
    let end = 'closed without an answer';
    socket.write(head);
    socket.on('error', () => undefined);
    if (readsAnswer) {
      socket.once('data', (bytes) => {
        end = /^HTTP\/1\.1 (\d{3})/.exec(bytes.toString('latin1'))?.[1] ?? 'no HTTP';
        socket.destroy();
      });
    }
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (this.#hasLeft) return;
      this.ends.add(`slow ${kind}: ${end}`);
      setTimeout(() => {
        if (!this.#hasLeft) this.#connect(kind);
      }, 1000).unref();
    });
  }
}
