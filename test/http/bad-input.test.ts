import { test } from 'node:test';
import { assertCaptioned, assertRefused, badInputEnvironment, badInputs, onePixel } from './bad-inputs.js';
import { startService } from './service.js';

test('each bad input gets its problem, and the good photo after it a caption', async (t) => {
  const { url, scheduler } = await startService(t, badInputEnvironment);
  for (const input of badInputs) {
    await t.test(input.name, async () => {
      await assertRefused(url, input);
      await assertCaptioned(url);
      await scheduler.idle();
    });
  }
  await t.test('one pixel is captioned', async () => assertCaptioned(url, await onePixel()));
});
