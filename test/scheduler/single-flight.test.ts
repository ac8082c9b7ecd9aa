import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { ServiceError } from '../../src/errors.js';
import type { Priority } from '../../src/scheduler/model.js';
import {
  ClientDisconnected,
  deadlineExceeded,
  isPastDeadline,
  type Deferred,
  deferred,
} from '../../src/promises.js';
import { SingleFlight } from '../../src/scheduler/result-cache.js';

interface Run {
  readonly key: string;
  readonly answer: Deferred<string>;
  readonly signal: AbortSignal;
}

interface Waiter {
  readonly isOwn: boolean;
  readonly answer: Promise<string>;
  /** Its client closes the connection. */
  readonly disconnect: () => void;
  /** Its deadline comes. */
  readonly expire: () => void;
}

/** Runs that end when the test says so, at the latest with it. */
function startFlights(t: TestContext) {
  const runs: Run[] = [];
  const left: ('deadline' | 'gone')[] = [];
  const flights = new SingleFlight<string>((signal) =>
    left.push(isPastDeadline(signal) ? 'deadline' : 'gone'),
  );
  t.after(() => {
    for (const { answer } of runs) answer.resolve('the test is over');
  });
  function join(key: string, options: { priority?: Priority; controller?: AbortController } = {}): Waiter {
    const { priority = 'single', controller = new AbortController() } = options;
    const joined = flights.join(key, { priority, signal: controller.signal }, (signal) => {
      const run = { key, answer: deferred<string>(), signal };
      runs.push(run);
      return run.answer.promise;
    });
    joined.answer.catch(() => undefined);
    return {
      ...joined,
      disconnect: () => {
        controller.abort(new ClientDisconnected());
      },
      expire: () => {
        controller.abort(deadlineExceeded());
      },
    };
  }
  const run = (index: number): Run => {
    const found = runs[index];
    assert.ok(found, `run ${index} was not begun`);
    return found;
  };
  return { join, runs, run, left };
}

function late(error: unknown): boolean {
  return error instanceof ServiceError && error.code === 'deadline_exceeded';
}

describe('a single flight', () => {
  it('is one run for all who ask for the same meanwhile, and none for others', async (t) => {
    const { join, run, runs } = startFlights(t);
    const [first, second, other] = [join('a'), join('a'), join('b')];
    assert.deepEqual([first.isOwn, second.isOwn, other.isOwn], [true, false, true]);
    run(0).answer.resolve('of a');
    run(1).answer.resolve('of b');
    assert.deepEqual(await Promise.all([first.answer, second.answer, other.answer]), [
      'of a',
      'of a',
      'of b',
    ]);
    assert.equal(join('a').isOwn, true);
    assert.equal(runs.length, 3);
  });

  it('goes on when the one who began it leaves', async (t) => {
    const { join, run, left } = startFlights(t);
    const [first, second] = [join('a'), join('a')];
    first.disconnect();
    await assert.rejects(first.answer, ClientDisconnected);
    assert.equal(run(0).signal.aborted, false);
    assert.equal(join('a').isOwn, false);
    run(0).answer.resolve('answer');
    assert.equal(await second.answer, 'answer');
    assert.deepEqual(left, ['gone']);
  });

  it('ends for each waiter at its own deadline, and for all when the last has left', async (t) => {
    const { join, run, left } = startFlights(t);
    const [patient, hasty] = [join('a'), join('a')];
    hasty.expire();
    await assert.rejects(hasty.answer, late);
    assert.equal(run(0).signal.aborted, false);
    assert.deepEqual(left, ['deadline']);
    patient.disconnect();
    assert.ok(run(0).signal.aborted);
    // Whoever comes now gets a run of their own, not the one that is being given up.
    const next = join('a');
    assert.equal(next.isOwn, true);
    run(0).answer.reject(new Error('given up'));
    run(1).answer.resolve('answer');
    assert.equal(await next.answer, 'answer');
  });

  it('tells the run why its last waiter left', async (t) => {
    const { join, run } = startFlights(t);
    const [first, last] = [join('a'), join('a')];
    first.disconnect();
    last.expire();
    await assert.rejects(last.answer, late);
    assert.ok(late(run(0).signal.reason));
  });

  it('is left at once by a request that has ended before it came', async (t) => {
    const { join, run, left } = startFlights(t);
    const ended = new AbortController();
    ended.abort(deadlineExceeded());
    const alone = join('a', { controller: ended });
    await assert.rejects(alone.answer, late);
    assert.ok(run(0).signal.aborted);
    const waiting = join('a');
    await assert.rejects(join('a', { controller: ended }).answer, late);
    assert.equal(run(1).signal.aborted, false);
    assert.deepEqual(left, ['deadline']);
    run(1).answer.resolve('answer');
    assert.equal(await waiting.answer, 'answer');
  });

  it('that fails, fails for those who wait, and for nobody after them', async (t) => {
    const { join, run } = startFlights(t);
    const waiters = [join('a'), join('a')];
    run(0).answer.reject(new Error('no caption'));
    for (const { answer } of waiters) await assert.rejects(answer, /no caption/);
    const next = join('a');
    run(1).answer.resolve('answer');
    assert.equal(await next.answer, 'answer');
  });

  it('of a batch upload is not waited for by a single image, but the other way round', async (t) => {
    const { join, run } = startFlights(t);
    const upload = join('a', { priority: 'batch' });
    const single = join('a');
    assert.equal(single.isOwn, true);
    run(1).answer.resolve('soon');
    assert.equal(await single.answer, 'soon');
    run(0).answer.resolve('later');
    assert.equal(await upload.answer, 'later');
    join('b');
    assert.equal(join('b', { priority: 'batch' }).isOwn, false);
  });

  const step = fc.oneof(
    fc.record({
      do: fc.constant('join' as const),
      key: fc.constantFrom('a', 'b'),
      priority: fc.constantFrom<Priority>('single', 'batch'),
    }),
    fc.record({ do: fc.constantFrom('leave' as const, 'answer' as const, 'fail' as const), at: fc.nat(40) }),
  );

  it('answers every waiter once, with what its run says, whatever happens in whatever order', async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { join, runs } = startFlights(t);
        const waiters: (Waiter & { run: Run; expected: string | undefined })[] = [];
        const over = new Set<Run>();
        const latest = new Map<string, { run: Run; priority: Priority }>();
        const waitingFor = (run: Run) =>
          waiters.filter((waiter) => waiter.run === run && waiter.expected === undefined);
        const end = (run: Run, expected: string): void => {
          for (const waiter of waitingFor(run)) waiter.expected = expected;
          over.add(run);
        };

        for (const each of steps) {
          if (each.do === 'join') {
            const joinable = latest.get(each.key);
            const isShared =
              joinable !== undefined &&
              !over.has(joinable.run) &&
              (joinable.priority === 'single' || each.priority === 'batch');
            const waiter = join(each.key, each);
            const run = isShared ? joinable.run : runs.at(-1);
            assert.ok(run);
            assert.equal(waiter.isOwn, !isShared);
            if (!isShared) latest.set(each.key, { run, priority: each.priority });
            waiters.push({ ...waiter, run, expected: undefined });
          } else if (each.do === 'leave') {
            const waiter = waiters[each.at];
            if (waiter?.expected !== undefined || waiter === undefined) continue;
            waiter.disconnect();
            waiter.expected = new ClientDisconnected().message;
            const isLast = waitingFor(waiter.run).length === 0;
            assert.equal(waiter.run.signal.aborted, isLast);
            if (isLast) over.add(waiter.run);
          } else {
            const run = runs[each.at];
            if (run === undefined || over.has(run)) continue;
            const text = `${each.do} ${run.key} ${each.at}`;
            if (each.do === 'answer') run.answer.resolve(text);
            else run.answer.reject(new Error(text));
            end(run, text);
          }
          await new Promise(setImmediate);
        }
        for (const [index, run] of runs.entries()) {
          if (over.has(run)) continue;
          run.answer.resolve(`end ${index}`);
          end(run, `end ${index}`);
        }
        const told = await Promise.all(
          waiters.map(({ answer }) =>
            answer.catch((error: unknown) => (error instanceof Error ? error.message : error)),
          ),
        );
        assert.deepEqual(
          told,
          waiters.map(({ expected }) => expected),
        );
      }),
    );
  });
});
