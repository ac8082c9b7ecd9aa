import type { Priority } from './engine.js';

/** An entry that was in this many crashes runs alone, so that it can take nobody along. */
const crashesUntilAlone = 2;
/** At this many crashes the entry itself is the cause. */
const crashesUntilFailed = 3;

export interface EntryFacts {
  /** Entries of one key may share a batch. */
  readonly groupKey: string;
  /** Places the entry takes, in images' worth of work; at least 1. */
  readonly cost: number;
  readonly priority: Priority;
  /** In the clock's milliseconds. */
  readonly deadline: number;
  /** Whether nobody waits for the answer any more. */
  readonly isGone: () => boolean;
}

export interface Entry<T> extends EntryFacts {
  readonly item: T;
  /** Milliseconds spent waiting, over all its stays in the queue. */
  readonly waitedMs: number;
}

export type DropReason = 'deadline' | 'gone';

export interface Taken<T> {
  /** To be run together; empty when nothing is due. */
  readonly batch: readonly Entry<T>[];
  /** Left the queue unanswered; their places are free. */
  readonly dropped: readonly { readonly entry: Entry<T>; readonly reason: DropReason }[];
  /** When a batch waits to grow: milliseconds until it is due as it is. */
  readonly dueInMs?: number;
}

export interface BatchQueueOptions {
  /** Most places in use at once: reserved, waiting and running together. */
  readonly places: number;
  /** Of these, places that are in use in other queues. */
  readonly placesElsewhere?: () => number;
  /** How long an entry may wait for its batch to fill. */
  readonly delayMs: number;
  /** Milliseconds, never going back. */
  readonly now: () => number;
}

interface Held<T> extends Entry<T> {
  readonly sequence: number;
  state: 'waiting' | 'running' | 'done';
  /** When it got in line, or, once it left, when it was handed to a worker. */
  waitsSince: number;
  waitedMs: number;
  crashes: number;
}

/**
 * Bounded places and the entries that wait in them. It knows no model, no process and no timer: a place is reserved
 * before an entry exists, a free worker takes what waits, and every entry is done exactly once.
 */
export class BatchQueue<T> {
  readonly #options: BatchQueueOptions;
  readonly #records = new Map<Entry<T>, Held<T>>();
  /** Each sorted by sequence: the order in which entries were added. */
  readonly #waiting: Readonly<Record<Priority, Held<T>[]>> = { single: [], batch: [] };
  #placesUsed = 0;
  #waitingCost = 0;
  #nextSequence = 0;

  constructor(options: BatchQueueOptions) {
    this.#options = options;
  }

  /** Places reserved, waiting or running. */
  get placesUsed(): number {
    return this.#placesUsed;
  }

  /** Places of the entries that wait for a worker. */
  get waitingCost(): number {
    return this.#waitingCost;
  }

  /** Takes places, all or none. */
  reserve(places: number): boolean {
    const elsewhere = this.#options.placesElsewhere?.() ?? 0;
    if (this.#placesUsed + elsewhere + places > this.#options.places) return false;
    this.#placesUsed += places;
    return true;
  }

  /** Gives reserved places back. */
  free(places: number): void {
    this.#placesUsed -= places;
  }

  /** Lets an entry wait in places that were reserved for it, `cost` of them. */
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
   * Takes the next batch: the first entry in line, and with it those of its group that follow, singles before
   * batch uploads, up to `maxCost`. Entries whose client has gone or whose deadline has passed are dropped first.
   * @param share what of a batch that is due is taken at most, so that other free workers have something to take
   */
  take(maxCost: number, share = maxCost): Taken<T> {
    const now = this.#options.now();
    const dropped = this.#dropStale(now);
    const full = this.#nextBatch(maxCost);
    const [head] = full;
    if (head === undefined) return { batch: [], dropped };
    const dueInMs = head.waitsSince + this.#options.delayMs - now;
    const cost = full.reduce((sum, record) => sum + record.cost, 0);
    // An entry that must run alone gains nothing by waiting.
    if (dueInMs > 0 && cost < maxCost && head.crashes < crashesUntilAlone) {
      return { batch: [], dropped, dueInMs };
    }
    const batch = share < cost ? this.#nextBatch(share) : full;
    for (const record of batch) this.#leaveLine(record, now);
    return { batch, dropped };
  }

  /** The run of entries that were taken begins: what they waited at the worker counts, too. */
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
      if (record?.state === 'running') this.#standInLine(record);
    }
  }

  /**
   * Puts entries whose run crashed back in line, before all that were added after them.
   * @returns those that were in too many crashes: they are done, and the cause
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
      this.#standInLine(record);
    }
    return failed;
  }

  /** Takes a waiting entry out of line and frees its places; false when it does not wait. */
  remove(entry: Entry<T>): boolean {
    const record = this.#records.get(entry);
    if (record?.state !== 'waiting') return false;
    this.#leaveLine(record, this.#options.now());
    this.done(entry);
    return true;
  }

  /** Frees the places of an entry that ran; false when it was done before. */
  done(entry: Entry<T>): boolean {
    const record = this.#records.get(entry);
    if (record?.state !== 'running') return false;
    record.state = 'done';
    this.#records.delete(entry);
    this.#placesUsed -= record.cost;
    return true;
  }

  *#inLine(): Generator<Held<T>> {
    yield* this.#waiting.single;
    yield* this.#waiting.batch;
  }

  #dropStale(now: number): { entry: Entry<T>; reason: DropReason }[] {
    const dropped: { entry: Entry<T>; reason: DropReason }[] = [];
    for (const record of [...this.#inLine()]) {
      const reason = record.isGone() ? 'gone' : record.deadline <= now ? 'deadline' : undefined;
      if (reason === undefined) continue;
      this.remove(record);
      dropped.push({ entry: record, reason });
    }
    return dropped;
  }

  #nextBatch(maxCost: number): Held<T>[] {
    const head = this.#waiting.single[0] ?? this.#waiting.batch[0];
    if (head === undefined) return [];
    const batch = [head];
    if (head.crashes >= crashesUntilAlone) return batch;
    let cost = head.cost;
    for (const record of this.#inLine()) {
      if (record === head) continue;
      if (record.groupKey !== head.groupKey || record.crashes >= crashesUntilAlone) continue;
      cost += record.cost;
      // Whoever does not fit keeps those behind it waiting too, or it might be overtaken for ever.
      if (cost > maxCost) break;
      batch.push(record);
    }
    return batch;
  }

  #leaveLine(record: Held<T>, now: number): void {
    const line = this.#waiting[record.priority];
    line.splice(line.indexOf(record), 1);
    record.state = 'running';
    this.#countWait(record, now);
    this.#waitingCost -= record.cost;
  }

  /** Where its sequence puts it. */
  #standInLine(record: Held<T>): void {
    record.state = 'waiting';
    record.waitsSince = this.#options.now();
    const line = this.#waiting[record.priority];
    const index = line.findIndex((other) => other.sequence > record.sequence);
    line.splice(index === -1 ? line.length : index, 0, record);
    this.#waitingCost += record.cost;
  }

  #countWait(record: Held<T>, now: number): void {
    record.waitedMs += now - record.waitsSince;
    record.waitsSince = now;
  }
}
