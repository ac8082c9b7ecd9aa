import { setMaxListeners } from 'node:events';
import type {
  Answered,
  Engine,
  Readiness,
  Reservation,
  ReserveOptions,
  ServedModel,
} from '../../src/engine/engine.js';
import { ServiceError } from '../../src/problem.js';
import type {
  CaptionItem,
  CaptionOutcome,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
} from '../../src/runtime/messages.js';
import { exampleFacts } from '../runtime/example-bundle.js';

/** An engine without a model: it names the average colour of the pixels it is given. */
export interface FakeEngine extends Engine {
  readiness: Readiness;
  /** Places there are, and places taken now. */
  capacity: number;
  readonly taken: number;
  /** What was submitted, and the reservations' options, in order. */
  readonly items: readonly WorkItem[];
  /** The captions among them. */
  readonly captionItems: readonly CaptionItem[];
  readonly reservations: readonly ReserveOptions[];
  /** Lets submitted items wait until the function returned is called. */
  readonly hold: () => () => void;
  /** The same for items after the first `count`. */
  readonly holdFrom: (count: number) => () => void;
  /** Resolves when so many items wait. */
  readonly waiting: (count: number) => Promise<void>;
  /** Resolves when so many items were submitted. */
  submitted(count: number): Promise<void>;
  /** Resolves when so many reservations were made. */
  reserved(count: number): Promise<void>;
  /** Serves another bundle from now on; what was reserved before is answered by the one before. */
  swap(changes: Partial<ServedModel['bundle']>): void;
  /** Makes the next submission fail. */
  failWith(error: Error): void;
  /** Resolves when no place is taken. */
  idle(): Promise<void>;
}

export function createFakeEngine(): FakeEngine {
  const items: WorkItem[] = [];
  const reservations: ReserveOptions[] = [];
  const changes = new EventTarget();
  setMaxListeners(0, changes);
  const changed = () => changes.dispatchEvent(new Event('change'));
  let taken = 0;
  let waiting = 0;
  let unheld = Infinity;
  let failure: Error | undefined;

  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise((resolve) => {
        changes.addEventListener('change', resolve, { once: true });
      });
    }
  }

  function holdFrom(count: number): () => void {
    unheld = count;
    return () => {
      unheld = Infinity;
      changed();
    };
  }

  let model: ServedModel = {
    bundle: {
      ...exampleFacts,
      image: { width: 16, height: 16, resize: 'stretch', kernel: 'cubic' },
      decoding: { ...exampleFacts.decoding, maxLength: 20 },
    },
    provider: 'cpu',
    devices: [],
    placement: { encoder: 'cpu', mixup: 'cpu', decoder: 'cpu', textEncoder: 'cpu' },
    precision: 'w8',
    servingSince: Date.now(),
  };
  return {
    get bundle() {
      return model.bundle;
    },
    get servingSince() {
      return model.servingSince;
    },
    provider: model.provider,
    devices: model.devices,
    placement: model.placement,
    precision: model.precision,
    swap(changes) {
      model = { ...model, bundle: { ...model.bundle, ...changes }, servingSince: Date.now() };
    },
    readiness: { ready: true },
    capacity: 64,
    get taken() {
      return taken;
    },
    items,
    get captionItems() {
      return items.filter((item) => item.kind === 'caption');
    },
    reservations,
    hold: () => holdFrom(0),
    holdFrom,
    waiting: (count) => until(() => waiting === count),
    submitted: (count) => until(() => items.length === count),
    reserved: (count) => until(() => reservations.length === count),
    failWith(error) {
      failure = error;
    },
    idle: () => until(() => taken === 0),
    reserve(images, options): Reservation {
      if (!this.readiness.ready) throw new ServiceError('not_ready', this.readiness.reason);
      if (taken + images > this.capacity) throw new ServiceError('queue_full', 'The queue is full.', 7);
      reservations.push(options);
      let places = images;
      taken += images;
      changed();
      const free = (count: number) => {
        places -= count;
        taken -= count;
        changed();
      };
      async function work<Item extends WorkItem, Outcome>(
        item: Item,
        outcome: (item: Item) => Outcome,
      ): Promise<Answered<Outcome>> {
        const place = items.push(item);
        waiting++;
        changed();
        await Promise.race([until(() => place <= unheld), aborted(options.signal)]);
        waiting--;
        if (places > 0) free(1);
        const error = failure;
        failure = undefined;
        if (error !== undefined) throw error;
        return { outcome: outcome(item), queueMs: 1.25, cached: false };
      }
      return {
        model,
        submit: (item) => work(item, outcomeOf),
        score: (item) => work(item, scoresOf),
        release() {
          free(places);
        },
      };
    },
    drain: () => Promise.resolve(),
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(new ServiceError('deadline_exceeded', 'gone'));
    });
  });
}

function outcomeOf({ pixels, options }: CaptionItem): CaptionOutcome {
  const captions = [
    'best',
    'second',
    'third',
    'fourth',
    'fifth',
    'sixth',
    'seventh',
    'eighth',
    'ninth',
    'tenth',
  ];
  return {
    candidates: captions.slice(0, options.candidates).map((rank, index) => ({
      text: `A ${averageColour(pixels)} picture, ${rank} of all`,
      confidence: 0.75 - index / 20,
      clipScore: 0.8,
      logProb: -6.1234567891,
      meanLogProb: -0.75,
    })),
    concepts: [{ word: 'dog', score: 0.9, ...(options.explain && { patches: [0.1, 0.2, 0.3, 0.4] }) }],
    ...(options.explain && { gridSize: { rows: 2, columns: 2 } }),
    timing: { encodeMs: 2, mixupMs: 1, captionMs: 3, scoreMs: 0.5 },
  };
}

/** A text that names the strongest colour fits. */
function scoresOf({ pixels, texts }: ScoreItem): ScoreOutcome {
  const colour = averageColour(pixels);
  return {
    scores: texts.map((text) => {
      const fits = text.includes(colour);
      return {
        cosine: fits ? 0.4 : -0.1234567891,
        clipScore: fits ? 1 : 0,
        matchProbability: fits ? 0.98 : 0.02,
        isCut: text.length > 400,
      };
    }),
    timing: { encodeMs: 2, scoreMs: 0.5 },
  };
}

function averageColour(pixels: Uint8Array): string {
  const sums = [0, 0, 0];
  pixels.forEach((value, index) => {
    sums[index % 3] = (sums[index % 3] ?? 0) + value;
  });
  const strongest = sums.indexOf(Math.max(...sums));
  return ['red', 'green', 'blue'][strongest] ?? 'grey';
}
