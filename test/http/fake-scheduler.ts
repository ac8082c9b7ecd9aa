import { setMaxListeners } from 'node:events';
import { ServiceError } from '../../src/errors.js';
import type {
  CaptionItem,
  CaptionOutcome,
  EmbeddingOutcome,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
  WorkOutcome,
} from '../../src/inference/messages.js';
import type { Answered, Model, RunRequest } from '../../src/scheduler/model.js';
import type { Readiness, Scheduler } from '../../src/scheduler/scheduler.js';
import { Permit, Slots, type SlotSource } from '../../src/scheduler/permit.js';
import { exampleFacts } from '../inference/example-bundle.js';
import { abortable } from '../../src/promises.js';

/** A scheduler with real permits and a model without graphs, which names the average colour of the pixels it gets. */
export interface FakeScheduler extends Scheduler {
  readiness: Readiness;
  /** Slots there are, and slots in use now. */
  capacity: number;
  readonly slotsUsed: number;
  /** How many requests were admitted. */
  readonly admissions: number;
  /** What the model was given to run, in order, and the request of each. */
  readonly items: readonly WorkItem[];
  readonly requests: readonly RunRequest[];
  /** The captions among the items. */
  readonly captionItems: readonly CaptionItem[];
  /** Lets items wait until the function returned is called. */
  readonly hold: () => () => void;
  /** The same for items after the first `count`. */
  readonly holdFrom: (count: number) => () => void;
  /** Resolves when so many items wait. */
  readonly waiting: (count: number) => Promise<void>;
  /** Resolves when the model was given so many items. */
  readonly submitted: (count: number) => Promise<void>;
  /** Resolves when so many requests were admitted. */
  readonly admitted: (count: number) => Promise<void>;
  /** Resolves when so many slots are in use. */
  readonly using: (count: number) => Promise<void>;
  /** Resolves when no slot is in use. */
  readonly idle: () => Promise<void>;
  /** Serves another bundle from now on; what was admitted before is answered by the one before. */
  swap(changes: Partial<Model['bundle']>): void;
  /** Makes the next item fail. */
  failWith(error: Error): void;
}

export function createFakeScheduler(): FakeScheduler {
  const items: WorkItem[] = [];
  const requests: RunRequest[] = [];
  const changes = new EventTarget();
  setMaxListeners(0, changes);
  const changed = () => changes.dispatchEvent(new Event('change'));
  let slots = new Slots(64);
  let admissions = 0;
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
    changed();
    return () => {
      unheld = Infinity;
      changed();
    };
  }

  function requireSlots(count: number): void {
    if (!slots.hasFree(count)) throw new ServiceError('queue_full', 'The queue is full.', 7);
  }
  function takeSlots(count: number): void {
    requireSlots(count);
    slots.take(count);
    changed();
  }
  const source: SlotSource = {
    admitSlots: takeSlots,
    takeSlots,
    requireSlots,
    freeSlots(count) {
      slots.free(count);
      changed();
    },
  };

  function run(item: CaptionItem, request: RunRequest): Promise<Answered<CaptionOutcome>>;
  function run(item: ScoreItem, request: RunRequest): Promise<Answered<ScoreOutcome>>;
  function run(item: WorkItem, request: RunRequest): Promise<Answered>;
  async function run(item: WorkItem, request: RunRequest): Promise<Answered> {
    const place = items.push(item);
    requests.push(request);
    waiting++;
    changed();
    try {
      await abortable(
        until(() => place <= unheld),
        request.signal,
      );
    } finally {
      waiting--;
      changed();
    }
    const error = failure;
    failure = undefined;
    if (error !== undefined) throw error;
    return { outcome: answerTo(item), queueMs: 1.25 };
  }

  let model: Model = {
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
    run,
  };
  return {
    get model() {
      return model;
    },
    swap(changes) {
      model = { ...model, bundle: { ...model.bundle, ...changes }, servingSince: Date.now() };
    },
    readiness: { ready: true },
    get capacity() {
      return slots.max;
    },
    set capacity(max) {
      const { used } = slots;
      slots = new Slots(max);
      slots.take(used);
    },
    get slotsUsed() {
      return slots.used;
    },
    get admissions() {
      return admissions;
    },
    items,
    requests,
    get captionItems() {
      return items.filter((item) => item.kind === 'caption');
    },
    hold: () => holdFrom(0),
    holdFrom,
    waiting: (count) => until(() => waiting === count),
    submitted: (count) => until(() => items.length === count),
    admitted: (count) => until(() => admissions === count),
    using: (count) => until(() => slots.used === count),
    idle: () => until(() => slots.used === 0),
    failWith(error) {
      failure = error;
    },
    admit(count) {
      if (!this.readiness.ready) throw new ServiceError('not_ready', this.readiness.reason);
      const permit = Permit.take(source, model, count);
      admissions += 1;
      changed();
      return permit;
    },
    drain: () => Promise.resolve(),
  };
}

function answerTo(item: WorkItem): WorkOutcome {
  switch (item.kind) {
    case 'caption':
      return outcomeOf(item);
    case 'score':
      return scoresOf(item);
    case 'embed-image':
      return embeddingsOf([averageColour(item.pixels)]);
    case 'embed-texts':
      return embeddingsOf(item.texts);
  }
}

/** A text that names a colour has the embedding of an image of that colour. */
function embeddingsOf(texts: readonly string[]): EmbeddingOutcome {
  return {
    embeddings: texts.map((text) =>
      Float32Array.from(['red', 'green'], (colour) => (text.includes(colour) ? 1 : 0)),
    ),
    timing: { encodeMs: 2, scoreMs: 0.5 },
  };
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
    tags: [
      { word: averageColour(pixels), probability: 0.9 },
      { word: 'picture', probability: 0.6 },
    ],
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
        isTruncated: text.length > 400,
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
