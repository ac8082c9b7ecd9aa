import type { Priority } from './model.js';

/** An entry that was in this many crashes runs alone, so that it takes no other entry down with it. */
const crashesUntilAlone = 2;
/** At this many crashes the entry itself is the cause. */
const crashesUntilFailed = 3;
/**
 * Cost from which an entry runs only while no other such entry does: it holds a worker for a tenth of a second and more, and
 * a few of them would hold all workers while single images wait.
 */
export const costlyFrom = 8;

export interface EntryFacts {
  /** Entries of one key may share a batch. */
  readonly groupKey: string;
  /** Work of the entry, in images; at least 1. */
  readonly cost: number;
  readonly priority: Priority;
}

export interface Entry<T> extends EntryFacts {
  readonly item: T;
  /** Milliseconds spent waiting, over all its stays in the queue. */
  readonly waitedMs: number;
}

export interface Taken<T> {
  /** Entries to run together; empty when nothing is due. */
  readonly batch: readonly Entry<T>[];
  /** Milliseconds until a batch that waits to grow is due as it is. */
  readonly dueInMs?: number;
}

export interface BatchQueueOptions {
  /** How long an entry may wait for its batch to fill, in milliseconds. */
  readonly delayMs: number;
  /** A clock in milliseconds that never goes back. */
  readonly now: () => number;
}

interface Held<T> extends Entry<T> {
  readonly sequence: number;
  state: 'waiting' | 'running' | 'done';
  /** When the entry was enqueued, or when it was handed to a worker. */
  waitsSince: number;
  waitedMs: number;
  crashes: number;
}

/**
 * The images that wait for an inference process, in order. The queue knows no model, no process, no slot and no timer:
 * a free worker takes what waits, and every entry is done exactly once.
 */
export class BatchQueue<T> {
  readonly #options: BatchQueueOptions;
  readonly #records = new Map<Entry<T>, Held<T>>();
  /** Each list is sorted by sequence, the order in which entries were added. */
  readonly #waiting: Readonly<Record<Priority, Held<T>[]>> = { single: [], batch: [] };
  #waitingCost = 0;
  #costlyRunning = 0;
  #nextSequence = 0;

  constructor(options: BatchQueueOptions) {
    this.#options = options;
  }

  /** Entries that wait or run. */
  get size(): number {
    return this.#records.size;
  }

  /** Cost of the entries that wait for a worker. */
  get waitingCost(): number {
    return this.#waitingCost;
  }

  /** Cost of the entries that wait and may run now. */
  get runnableCost(): number {
    return [...this.#inLine()].reduce((sum, { cost }) => sum + cost, 0);
  }

  add(item: T, facts: EntryFacts): Entry<T> {
    const record: Held<T> = {
      item,
      ...facts,
      sequence: this.#nextSequence++,
      state: 'waiting',
      waitsSince: this.#options.now(),
      waitedMs: 0,
      crashes: 0,
    };
    this.#records.set(record, record);
    this.#waiting[facts.priority].push(record);
    this.#waitingCost += facts.cost;
    return record;
  }

  /**
   * Takes the next batch: the first entry in line, and with it the entries of its group that follow, single images
   * before batch uploads, up to `maxCost`. A costly entry is passed over while another one runs.
   *
   * @param share cost that is taken at most of a batch that is due, so that other free workers get their part
   */
  take(maxCost: number, share = maxCost): Taken<T> {
    const now = this.#options.now();
    const full = this.#nextBatch(maxCost);
    const [head] = full;
    if (head === undefined) return { batch: [] };
    const dueInMs = head.waitsSince + this.#options.delayMs - now;
    const cost = full.reduce((sum, record) => sum + record.cost, 0);
    // An entry that must run alone gains nothing by waiting.
    if (dueInMs > 0 && cost < maxCost && head.crashes < crashesUntilAlone) return { batch: [], dueInMs };
    const batch = share < cost ? this.#nextBatch(share) : full;
    for (const record of batch) this.#dequeue(record, now);
    return { batch };
  }

  /** Marks the begin of the run of entries that were taken: what they waited at the worker counts, too. */
  begin(batch: readonly Entry<T>[]): void {
    for (const entry of batch) {
      const record = this.#records.get(entry);
      if (record?.state === 'running') this.#countWait(record, this.#options.now());
    }
  }

  /** Puts entries that were taken and never run back in line, before all that were added after them. */
  putBack(batch: readonly Entry<T>[]): void {
    this.begin(batch);
    for (const entry of batch) {
      const record = this.#records.get(entry);
      if (record?.state === 'running') this.#enqueue(record);
    }
  }

  /**
   * Puts entries whose run crashed back in line, before all that were added after them.
   *
   * @returns entries that were in too many crashes: they are the cause, and done
   */
  putBackAfterCrash(batch: readonly Entry<T>[]): Entry<T>[] {
    const failed: Entry<T>[] = [];
    for (const entry of batch) {
      const record = this.#records.get(entry);
      if (record?.state !== 'running') continue;
      record.crashes += 1;
      if (record.crashes >= crashesUntilFailed) {
        failed.push(entry);
        this.done(entry);
        continue;
      }
      this.#enqueue(record);
    }
    return failed;
  }

  /** Removes an entry that waits; false when it does not wait. */
  remove(entry: Entry<T>): boolean {
    const record = this.#records.get(entry);
    if (record?.state !== 'waiting') return false;
    this.#dequeue(record, this.#options.now());
    return this.done(entry);
  }

  /** Ends an entry that ran; false when it was done before. */
  done(entry: Entry<T>): boolean {
    const record = this.#records.get(entry);
    if (record?.state !== 'running') return false;
    this.#leaveRun(record);
    record.state = 'done';
    return this.#records.delete(entry);
  }

  /** The entries that wait or run. */
  entries(): Iterable<Entry<T>> {
    return this.#records.keys();
  }

  /** The entries that may run now, in order. */
  *#inLine(): Generator<Held<T>> {
    for (const line of [this.#waiting.single, this.#waiting.batch]) {
      for (const record of line) if (this.#costlyRunning === 0 || record.cost < costlyFrom) yield record;
    }
  }

  #nextBatch(maxCost: number): Held<T>[] {
    const [head] = this.#inLine();
    if (head === undefined) return [];
    const batch = [head];
    if (head.crashes >= crashesUntilAlone) return batch;
    let cost = head.cost;
    for (const record of this.#inLine()) {
      if (record === head) continue;
      if (record.groupKey !== head.groupKey || record.crashes >= crashesUntilAlone) continue;
      cost += record.cost;
      // An entry that does not fit keeps those behind it waiting too, or it could be overtaken for ever.
      if (cost > maxCost) break;
      batch.push(record);
    }
    return batch;
  }

  #dequeue(record: Held<T>, now: number): void {
    const line = this.#waiting[record.priority];
    line.splice(line.indexOf(record), 1);
    record.state = 'running';
    if (record.cost >= costlyFrom) this.#costlyRunning += 1;
    this.#countWait(record, now);
    this.#waitingCost -= record.cost;
  }

  /** Inserts the record where its sequence belongs. */
  #enqueue(record: Held<T>): void {
    this.#leaveRun(record);
    record.state = 'waiting';
    record.waitsSince = this.#options.now();
    const line = this.#waiting[record.priority];
    const index = line.findIndex((other) => other.sequence > record.sequence);
    line.splice(index === -1 ? line.length : index, 0, record);
    this.#waitingCost += record.cost;
  }

  #leaveRun(record: Held<T>): void {
    if (record.cost >= costlyFrom) this.#costlyRunning -= 1;
  }

  #countWait(record: Held<T>, now: number): void {
    record.waitedMs += now - record.waitsSince;
    record.waitsSince = now;
  }
}
