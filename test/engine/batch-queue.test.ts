import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BatchQueue, type Entry, type EntryFacts } from '../../src/engine/batch-queue.js';

function queueOf(options: { places?: number; delayMs?: number } = {}) {
  const clock = { now: 0 };
  const queue = new BatchQueue<string>({
    places: options.places ?? 100,
    delayMs: options.delayMs ?? 0,
    now: () => clock.now,
  });
  function add(item: string, facts: Partial<EntryFacts> = {}): Entry<string> {
    const all: EntryFacts = {
      groupKey: 'a',
      cost: 1,
      priority: 'single',
      deadline: Infinity,
      isGone: () => false,
      ...facts,
    };
    assert.ok(queue.reserve(all.cost));
    return queue.add(item, all);
  }
  const take = (maxCost: number, share?: number) => queue.take(maxCost, share).batch.map(({ item }) => item);
  return { queue, clock, add, take };
}

describe('the queue', () => {
  it('is first in, first out', () => {
    const { add, take } = queueOf();
    ['1', '2', '3'].forEach((item) => add(item));
    assert.deepEqual(take(2), ['1', '2']);
    assert.deepEqual(take(2), ['3']);
    assert.deepEqual(take(2), []);
  });

  it('takes singles first and fills their batch with uploads', () => {
    const { add, take } = queueOf();
    add('upload', { priority: 'batch' });
    add('single');
    assert.deepEqual(take(1), ['single']);
    add('single');
    assert.deepEqual(take(2), ['single', 'upload']);
  });

  it('leaves other groups for the next batch', () => {
    const { add, take } = queueOf();
    add('1');
    add('2', { groupKey: 'b' });
    add('3');
    assert.deepEqual(take(9), ['1', '3']);
    assert.deepEqual(take(9), ['2']);
  });

  it('measures batches by cost, and takes what is larger than a batch alone', () => {
    const { add, take } = queueOf();
    add('1');
    add('huge', { cost: 20 });
    add('2');
    assert.deepEqual(take(8), ['1']);
    assert.deepEqual(take(8), ['huge']);
    assert.deepEqual(take(8), ['2']);
  });

  it('takes a share when others are free to take the rest', () => {
    const { add, take } = queueOf();
    ['1', '2', '3', '4'].forEach((item) => add(item));
    assert.deepEqual(take(8, 2), ['1', '2']);
    assert.deepEqual(take(8, 2), ['3', '4']);
  });

  it('waits for a fuller batch as long as it may', () => {
    const { queue, clock, add, take } = queueOf({ delayMs: 10 });
    add('1');
    clock.now = 4;
    assert.equal(queue.take(2, 1).dueInMs, 6);
    clock.now = 10;
    assert.deepEqual(take(2), ['1']);
    add('2');
    add('3');
    assert.deepEqual(take(2), ['2', '3']);
  });

  it('drops what is too late or whose client has gone before it costs anything', () => {
    const { queue, clock, add } = queueOf();
    add('late', { deadline: 5 });
    add('gone', { isGone: () => true });
    add('good', { deadline: 6 });
    clock.now = 5;
    const { batch, dropped } = queue.take(9);
    assert.deepEqual(
      batch.map(({ item }) => item),
      ['good'],
    );
    assert.deepEqual(
      dropped.map(({ entry, reason }) => [entry.item, reason]),
      [
        ['late', 'deadline'],
        ['gone', 'gone'],
      ],
    );
    assert.equal(queue.placesUsed, 1);
  });

  it('measures how long an entry waited, a crash in between left out', () => {
    const { queue, clock, add } = queueOf();
    const entry = add('1');
    clock.now = 7;
    const { batch } = queue.take(1);
    assert.equal(entry.waitedMs, 7);
    clock.now = 100;
    queue.putBackAfterCrash(batch);
    clock.now = 103;
    queue.take(1);
    assert.equal(entry.waitedMs, 10);
  });

  it('measures what an entry waits at its worker, too', () => {
    const { queue, clock, add } = queueOf();
    const entry = add('1');
    clock.now = 7;
    const { batch } = queue.take(1);
    clock.now = 12;
    queue.putBack(batch); // the worker ended before it began
    clock.now = 20;
    queue.take(1);
    clock.now = 23;
    queue.begin(batch);
    assert.equal(entry.waitedMs, 23);
  });

  it('takes no crash down for entries whose run had not begun', () => {
    const { queue, add, take } = queueOf();
    add('1');
    add('2');
    for (let end = 0; end < 5; end++) queue.putBack(queue.take(9).batch);
    assert.deepEqual(take(9), ['1', '2']);
  });

  it('runs an entry alone after two crashes and gives it up after three', () => {
    const { queue, add } = queueOf();
    const poison = add('poison');
    add('2');
    add('3');
    queue.putBackAfterCrash(queue.take(9).batch);
    add('4');
    assert.deepEqual(queue.putBackAfterCrash(queue.take(9).batch), []);
    // Whoever was in both crashes runs alone, the newcomer too if it was in only one.
    const alone = queue.take(9).batch;
    assert.deepEqual(alone, [poison]);
    assert.deepEqual(queue.putBackAfterCrash(alone), [poison]);
    assert.equal(queue.placesUsed, 3);
    assert.deepEqual(
      queue.take(9).batch.map(({ item }) => item),
      ['2'],
    );
  });

  it('frees places once, however often an entry is done', () => {
    const { queue, add } = queueOf();
    const entry = add('1');
    assert.equal(queue.done(entry), false); // it waits
    queue.take(1);
    assert.equal(queue.remove(entry), false); // it runs
    assert.equal(queue.done(entry), true);
    assert.equal(queue.done(entry), false);
    assert.deepEqual(queue.putBackAfterCrash([entry]), []);
    assert.equal(queue.placesUsed, 0);
  });
});

/** One thing that can happen to the queue. */
const event = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      priority: fc.constantFrom('single' as const, 'batch' as const),
      group: fc.constantFrom('a', 'b'),
      cost: fc.integer({ min: 1, max: 4 }),
      timeoutMs: fc.integer({ min: 0, max: 60 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('take' as const), max: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('answer' as const, 'crash' as const, 'return' as const) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave' as const), which: fc.nat(9) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 20 }) }),
  },
);

interface Tracked {
  readonly entry: Entry<number>;
  readonly facts: EntryFacts;
  gone: boolean;
  crashes: number;
  state: 'waiting' | 'running' | 'done';
}

describe('whatever happens to the queue', () => {
  it('loses no entry, ends none twice, keeps its bounds and its order', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), fc.integer({ min: 1, max: 12 }), (events, places) => {
        let now = 0;
        const queue = new BatchQueue<number>({ places, delayMs: 0, now: () => now });
        const tracked: Tracked[] = [];
        const running: Tracked[][] = [];
        const find = (entry: Entry<number>): Tracked => {
          const found = tracked[entry.item];
          assert.ok(found);
          assert.equal(found.entry, entry);
          return found;
        };
        const end = (one: Tracked, from: Tracked['state']): void => {
          assert.equal(one.state, from); // nobody is ended twice
          one.state = 'done';
        };

        for (const step of events) {
          switch (step.kind) {
            case 'add': {
              const used = tracked
                .filter(({ state }) => state !== 'done')
                .reduce((sum, t) => sum + t.facts.cost, 0);
              assert.equal(queue.reserve(step.cost), used + step.cost <= places);
              if (used + step.cost > places) break;
              const one: Omit<Tracked, 'entry'> = {
                facts: {
                  groupKey: step.group,
                  cost: step.cost,
                  priority: step.priority,
                  deadline: now + step.timeoutMs,
                  isGone: () => tracked[number]?.gone === true,
                },
                gone: false,
                crashes: 0,
                state: 'waiting',
              };
              const number = tracked.length;
              tracked.push({ ...one, entry: queue.add(number, one.facts) });
              break;
            }
            case 'take': {
              const line = tracked.filter(({ state }) => state === 'waiting');
              const stale = line.filter((one) => one.gone || one.facts.deadline <= now);
              const fresh = line.filter((one) => !stale.includes(one));
              const { batch, dropped } = queue.take(step.max);
              assert.deepEqual(
                new Set(dropped.map(({ entry }) => entry)),
                new Set(stale.map(({ entry }) => entry)),
              );
              for (const one of stale) end(one, 'waiting');
              const taken = batch.map(find);
              // A batch is the first in line and those of its group, singles first, each in the order they came.
              assert.equal(taken.length > 0, fresh.length > 0);
              const inOrder = [
                ...fresh.filter(({ facts }) => facts.priority === 'single'),
                ...fresh.filter(({ facts }) => facts.priority === 'batch'),
              ];
              const [head] = inOrder;
              const mates = inOrder.filter(
                (one) => one === head || (one.facts.groupKey === head?.facts.groupKey && one.crashes < 2),
              );
              assert.deepEqual(taken, mates.slice(0, taken.length));
              if (taken.length > 1) {
                assert.ok(taken.every(({ crashes }) => crashes < 2));
                assert.ok(taken.reduce((sum, { facts }) => sum + facts.cost, 0) <= step.max);
              }
              for (const one of taken) one.state = 'running';
              if (taken.length > 0) running.push(taken);
              break;
            }
            case 'answer':
              for (const one of running.shift() ?? []) {
                assert.ok(queue.done(one.entry));
                assert.equal(queue.done(one.entry), false);
                end(one, 'running');
              }
              break;
            case 'crash': {
              const batch = running.pop() ?? [];
              const failed = queue.putBackAfterCrash(batch.map(({ entry }) => entry));
              for (const one of batch) {
                one.crashes += 1;
                assert.equal(failed.includes(one.entry), one.crashes === 3);
                if (one.crashes === 3) end(one, 'running');
                else one.state = 'waiting';
              }
              break;
            }
            case 'return': {
              const batch = running.pop() ?? [];
              queue.putBack(batch.map(({ entry }) => entry));
              for (const one of batch) one.state = 'waiting';
              break;
            }
            case 'leave': {
              const one = tracked[step.which];
              if (one === undefined) break;
              one.gone = true;
              if (step.which % 2 === 0) break; // found out at the next take
              assert.equal(queue.remove(one.entry), one.state === 'waiting');
              if (one.state === 'waiting') end(one, 'waiting');
              break;
            }
            case 'pass':
              now += step.ms;
          }
          const open = tracked.filter(({ state }) => state !== 'done');
          const waiting = open.filter(({ state }) => state === 'waiting');
          const costOf = (some: Tracked[]) => some.reduce((sum, { facts }) => sum + facts.cost, 0);
          assert.equal(queue.placesUsed, costOf(open));
          assert.equal(queue.waitingCost, costOf(waiting));
          assert.ok(queue.placesUsed <= places);
        }

        // Everything that still waits comes out in the end.
        for (let rest = running.flat(); rest.length > 0; rest = running.flat()) {
          for (const one of rest) assert.ok(queue.done(one.entry));
          for (const one of rest) end(one, 'running');
          running.length = 0;
        }
        for (let turn = 0; turn <= tracked.length; turn++) {
          const { batch, dropped } = queue.take(100);
          for (const { entry } of dropped) end(find(entry), 'waiting');
          for (const entry of batch) {
            assert.ok(queue.done(entry));
            end(find(entry), 'waiting');
          }
        }
        assert.ok(tracked.every(({ state }) => state === 'done'));
        assert.equal(queue.placesUsed, 0);
      }),
      { numRuns: 500 },
    );
  });
});
