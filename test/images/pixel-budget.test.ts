import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPixelBudget } from '../../src/images/pixel-budget.js';

/** Takes pixels for names, and notes who got them, in order. */
function takers(most: number) {
  const budget = createPixelBudget(most);
  const entered: string[] = [];
  const take = async (name: string, pixels: number) => {
    const leave = await budget.take(pixels);
    entered.push(name);
    return leave;
  };
  return { take, entered };
}

test('pictures go side by side as far as the pixels reach, and the next when some are given back', async () => {
  const { take, entered } = takers(100);
  const first = await take('a', 60);
  const leaving = [take('b', 40), take('c', 30), take('d', 60)];
  await Promise.all(leaving.slice(0, 1));
  await new Promise(setImmediate);
  assert.deepEqual(entered, ['a', 'b']);
  first();
  const second = await leaving[1];
  await new Promise(setImmediate);
  assert.deepEqual(entered, ['a', 'b', 'c'], 'd does not fit yet');
  second?.();
  await leaving[2];
});

test('a large picture is not overtaken by small ones', async () => {
  const { take, entered } = takers(100);
  const leave = await take('a', 50);
  const waiting = [take('large', 100), take('small', 10)];
  await new Promise(setImmediate);
  assert.deepEqual(entered, ['a']);
  leave();
  (await waiting[0])?.();
  await waiting[1];
  assert.deepEqual(entered, ['a', 'large', 'small']);
});

test('a picture larger than all there is goes alone', async () => {
  const { take, entered } = takers(100);
  const leave = await take('huge', 1000);
  const next = take('small', 1);
  await new Promise(setImmediate);
  assert.deepEqual(entered, ['huge']);
  leave();
  await next;
});
