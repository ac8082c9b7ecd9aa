import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { createEngineMetrics } from '../../src/scheduler/metrics.js';
import { Permit, Slots, Admission } from '../../src/scheduler/permit.js';
import { fakeModel } from './fake-model.js';
import { refuses } from './test-engine.js';

/** Admission to one or several engines that share `max` slots. */
function startAdmissions(max: number, engines = 1) {
  const slots = new Slots(max);
  const registry = new Registry();
  const none = (): number => 0;
  const metrics = createEngineMetrics(registry, {
    waiting: none,
    slotsUsed: none,
    workersReady: none,
    model: () => undefined,
  });
  const state: { refusal: 'not_ready' | 'draining' | undefined; freed: number } = {
    refusal: undefined,
    freed: 0,
  };
  const admissions = Array.from(
    { length: engines },
    () =>
      new Admission({
        slots,
        metrics,
        refusal: () => state.refusal,
        retryAfterSeconds: () => 7,
        onFreed: () => {
          state.freed += 1;
        },
      }),
  );
  const take = (count: number, engine = 0): Permit => {
    const admission = admissions[engine];
    assert.ok(admission);
    return Permit.take(admission, fakeModel(), count);
  };
  async function dropped(reason: string): Promise<number> {
    const metric = await registry.getSingleMetric('pcm_caption_dropped_images_total')?.get();
    return metric?.values.find(({ labels }) => labels['reason'] === reason)?.value ?? NaN;
  }
  return { slots, admissions, state, take, dropped };
}

describe('slots', () => {
  it('are taken all or none', () => {
    const slots = new Slots(3);
    assert.equal(slots.tryTake(2), true);
    assert.equal(slots.tryTake(2), false);
    assert.equal(slots.used, 2);
    assert.equal(slots.tryTake(1), true);
    assert.equal(slots.tryTake(1), false);
    assert.equal(slots.tryTake(0), true);
    slots.free(3);
    assert.equal(slots.used, 0);
  });

  it('are taken beyond the limit for work that cannot be stopped, and nothing else until that has ended', () => {
    const slots = new Slots(1);
    assert.equal(slots.tryTake(1), true);
    slots.take(1);
    assert.equal(slots.used, 2);
    slots.free(1);
    assert.equal(slots.tryTake(1), false);
    slots.free(1);
    assert.equal(slots.tryTake(1), true);
  });
});

describe('a permit', () => {
  it('has its slots until it is released, however often that is', () => {
    const { slots, take, state } = startAdmissions(4);
    const permit = take(3);
    assert.deepEqual([permit.slots, slots.used], [3, 3]);
    permit.release();
    permit.release();
    assert.deepEqual([permit.slots, slots.used, state.freed], [0, 0, 1]);
    take(4).release();
  });

  it('is refused when there are too few slots, with the seconds until there may be, and takes none', async () => {
    const { slots, take, dropped } = startAdmissions(4);
    take(3);
    refuses(() => take(2), 'queue_full');
    assert.throws(() => take(2), { retryAfterSeconds: 7 });
    assert.equal(slots.used, 3);
    assert.equal(await dropped('queue_full'), 4);
  });

  it('is refused while there is a reason to, and takes no slots', async () => {
    const { slots, take, state, dropped } = startAdmissions(4);
    for (const reason of ['not_ready', 'draining'] as const) {
      state.refusal = reason;
      refuses(() => take(2), reason);
      assert.equal(await dropped(reason), 2);
    }
    assert.equal(slots.used, 0);
  });

  it('is exchanged for one of one slot for each image, more or fewer than it had', () => {
    const { slots, take } = startAdmissions(5);
    for (const images of [1, 2, 5]) {
      const whole = take(2);
      const each = whole.split(images);
      assert.deepEqual(
        each.map((permit) => permit.slots),
        Array<number>(images).fill(1),
      );
      assert.ok(each.every(({ model }) => model === whole.model));
      assert.equal(slots.used, images);
      whole.release(); // it has nothing any more
      assert.equal(slots.used, images);
      for (const permit of each) permit.release();
      assert.equal(slots.used, 0);
    }
  });

  it('stays as it is when there are too few slots for its images, all of which are counted as dropped', async () => {
    const { slots, take, dropped } = startAdmissions(4);
    const other = take(2);
    const permit = take(1);
    refuses(() => permit.split(3), 'queue_full');
    assert.deepEqual([permit.slots, slots.used], [1, 3]);
    assert.equal(await dropped('queue_full'), 3);
    other.release();
    assert.equal(permit.split(3).length, 3);
  });

  it('is exchanged although nothing is admitted any more: its request was', () => {
    const { slots, take, state } = startAdmissions(4);
    for (const reason of ['not_ready', 'draining'] as const) {
      state.refusal = undefined;
      const permit = take(1);
      state.refusal = reason;
      const each = permit.split(3);
      assert.equal(slots.used, 3);
      for (const own of each) own.release();
    }
  });

  it('that was released or exchanged gives no more slots: the request may have ended meanwhile', () => {
    const { slots, take } = startAdmissions(4);
    const released = take(1);
    released.release();
    assert.throws(() => released.split(2), /released/);
    const exchanged = take(1);
    exchanged.split(2);
    assert.throws(() => exchanged.split(2), /released/);
    assert.equal(slots.used, 2);
  });
});

describe('whatever requests do', () => {
  const engine = fc.nat(1);
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('take' as const),
        slots: fc.integer({ min: 1, max: 5 }),
        engine,
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('split' as const),
        which: fc.nat(20),
        images: fc.integer({ min: 1, max: 6 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat(20) }) },
    // Work beside the permits: texts, and images that run though nobody waits for them.
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('texts' as const),
        slots: fc.integer({ min: 0, max: 4 }),
        engine,
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('abandon' as const), engine }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('end work' as const) }) },
  );

  it('no more slots are given than there are, and in the end nothing is held', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 12 }), (steps, max) => {
        const { slots, admissions, take } = startAdmissions(max, 2);
        const at = (index: number): Admission => {
          const found = admissions[index];
          assert.ok(found);
          return found;
        };
        const permits: { permit: Permit; held: number; engine: number }[] = [];
        const work: { engine: number; held: number }[] = [];
        const heldBy = (index: number): number =>
          [...permits, ...work]
            .filter((each) => each.engine === index)
            .reduce((sum, { held }) => sum + held, 0);

        for (const each of steps) {
          const used = heldBy(0) + heldBy(1);
          const isFree = (count: number): boolean => used + count <= max;
          switch (each.do) {
            case 'take':
              if (isFree(each.slots)) {
                permits.push({
                  permit: take(each.slots, each.engine),
                  held: each.slots,
                  engine: each.engine,
                });
              } else refuses(() => take(each.slots, each.engine), 'queue_full');
              break;
            case 'split': {
              const one = permits[each.which];
              if (one === undefined) break;
              const missing = each.images - one.held;
              if (one.held === 0) assert.throws(() => one.permit.split(each.images), /released/);
              else if (missing <= 0 || isFree(missing)) {
                const { engine } = one;
                permits.push(...one.permit.split(each.images).map((permit) => ({ permit, held: 1, engine })));
                one.held = 0;
              } else refuses(() => one.permit.split(each.images), 'queue_full');
              break;
            }
            case 'release': {
              const one = permits[each.which];
              one?.permit.release();
              if (one !== undefined) one.held = 0;
              break;
            }
            case 'texts':
              assert.equal(at(each.engine).tryTake(each.slots), isFree(each.slots));
              if (isFree(each.slots)) work.push({ engine: each.engine, held: each.slots });
              break;
            case 'abandon':
              at(each.engine).take(1);
              work.push({ engine: each.engine, held: 1 });
              break;
            case 'end work': {
              const ended = work.pop();
              if (ended !== undefined) at(ended.engine).freeSlots(ended.held);
            }
          }
          for (const { permit, held } of permits) assert.equal(permit.slots, held);
          for (const index of [0, 1]) assert.equal(at(index).used, heldBy(index));
          assert.equal(slots.used, heldBy(0) + heldBy(1));
        }

        for (const { permit } of permits) permit.release();
        for (const { engine, held } of work) at(engine).freeSlots(held);
        assert.deepEqual([slots.used, at(0).used, at(1).used], [0, 0, 0]);
      }),
      { numRuns: 500 },
    );
  });
});
