import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BatchQueue, type Entry, type EntryFacts } from '../../src/scheduler/batch-queue.js';

function queueOf(options: { delayMs?: number } = {}) {
  const clock = { now: 0 };
  const queue = new BatchQueue<string>({ delayMs: options.delayMs ?? 0, now: () => clock.now });
  function add(item: string, facts: Partial<EntryFacts> = {}): Entry<string> {
    return queue.add(item, { groupKey: 'a', cost: 1, priority: 'single', ...facts });
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

  it('runs one costly entry at a time, and what is not costly beside it', () => {
    const { queue, add, take } = queueOf();
    const [first, second] = ['first', 'second'].map((item) => add(item, { cost: 20 }));
    assert.ok(first !== undefined && second !== undefined);
    add('1', { priority: 'batch' });
    assert.deepEqual(take(8), ['first']);
    assert.equal(queue.runnableCost, 1);
    assert.deepEqual(take(8), ['1']);
    assert.deepEqual(take(8), []);
    queue.putBack([first]);
    assert.deepEqual(take(8), ['first'], 'it is before all that came after it');
    queue.done(first);
    assert.deepEqual(take(8), ['second']);
    queue.putBackAfterCrash([second]);
    assert.deepEqual(take(8), ['second']);
    queue.done(second);
    add('third', { cost: 20 });
    assert.deepEqual(take(8), ['third']);
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

  it('loses an entry that is removed before it costs anything, and keeps the others in order', () => {
    const { queue, add, take } = queueOf();
    const [, second, third] = ['1', '2', '3', '4'].map((item) => add(item));
    assert.ok(second && third);
    assert.equal(queue.remove(second), true);
    assert.equal(queue.remove(third), true);
    assert.equal(queue.remove(third), false);
    assert.deepEqual([queue.size, queue.waitingCost], [2, 2]);
    assert.deepEqual(take(9), ['1', '4']);
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
    assert.equal(queue.size, 3);
    assert.deepEqual(
      queue.take(9).batch.map(({ item }) => item),
      ['2'],
    );
  });

  it('ends an entry once, however often it is done', () => {
    const { queue, add } = queueOf();
    const entry = add('1');
    assert.equal(queue.done(entry), false); // it waits
    queue.take(1);
    assert.equal(queue.remove(entry), false); // it runs
    assert.equal(queue.done(entry), true);
    assert.equal(queue.done(entry), false);
    assert.deepEqual(queue.putBackAfterCrash([entry]), []);
    queue.putBack([entry]);
    assert.deepEqual([queue.size, queue.waitingCost], [0, 0]);
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
  crashes: number;
  state: 'waiting' | 'running' | 'done';
}

describe('whatever happens to the queue', () => {
  it('loses no entry, ends none twice, and keeps its order', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (events) => {
        let now = 0;
        const queue = new BatchQueue<number>({ delayMs: 0, now: () => now });
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
              const { cost, priority } = step;
              const facts = { groupKey: step.group, cost, priority };
              const number = tracked.length;
              tracked.push({ entry: queue.add(number, facts), facts, crashes: 0, state: 'waiting' });
              break;
            }
            case 'take': {
              const line = tracked.filter(({ state }) => state === 'waiting');
              const { batch } = queue.take(step.max);
              const taken = batch.map(find);
              // A batch is the first in line and those of its group, singles first, each in the order they came.
              assert.equal(taken.length > 0, line.length > 0);
              const inOrder = [
                ...line.filter(({ facts }) => facts.priority === 'single'),
                ...line.filter(({ facts }) => facts.priority === 'batch'),
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
              assert.equal(queue.remove(one.entry), one.state === 'waiting');
              if (one.state === 'waiting') end(one, 'waiting');
              break;
            }
            case 'pass':
              now += step.ms;
          }
          const open = tracked.filter(({ state }) => state !== 'done');
          const waiting = open.filter(({ state }) => state === 'waiting');
          assert.equal(queue.size, open.length);
          assert.deepEqual(
            [...queue.entries()],
            open.map(({ entry }) => entry),
          );
          assert.equal(
            queue.waitingCost,
            waiting.reduce((sum, { facts }) => sum + facts.cost, 0),
          );
        }

        // Everything that still waits comes out in the end.
        for (let rest = running.flat(); rest.length > 0; rest = running.flat()) {
          for (const one of rest) assert.ok(queue.done(one.entry));
          for (const one of rest) end(one, 'running');
          running.length = 0;
        }
        for (let turn = 0; turn <= tracked.length; turn++) {
          const { batch } = queue.take(100);
          for (const entry of batch) {
            assert.ok(queue.done(entry));
            end(find(entry), 'waiting');
          }
        }
        assert.ok(tracked.every(({ state }) => state === 'done'));
        assert.deepEqual([queue.size, queue.waitingCost], [0, 0]);
      }),
      { numRuns: 500 },
    );
  });
});
