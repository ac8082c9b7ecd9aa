import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, Locator, Page } from 'playwright-core';
import { CaptionOptionsSchema } from '../../src/captioner/options.js';
import { startService } from '../http/service.js';
import { quarters } from '../images/drawn.js';
import { launchChromium, openPage } from './browser-page.js';

const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const photo = { name: 'photo.png', mimeType: 'image/png', buffer: await quarters(300, 200).png().toBuffer() };

/** Opens an operation for trying it out. */
async function tryOut(page: Page, id: string): Promise<Locator> {
  const operation = page.locator(`#operations-captions-${id}`);
  await operation.locator('.opblock-summary-control').click();
  await operation.getByRole('button', { name: 'Try it out' }).click();
  return operation;
}

/** Presses Execute, and reads the answer that the page shows. */
async function execute(operation: Locator): Promise<unknown> {
  await operation.getByRole('button', { name: 'Execute' }).click();
  const shown = operation.locator('.live-responses-table .highlight-code code').first();
  return JSON.parse((await shown.textContent()) ?? '');
}

/** The value at a path of names; undefined where there is none. */
function at(value: unknown, ...names: readonly (string | number)[]): unknown {
  const [name, ...others] = names;
  if (name === undefined) return value;
  if (typeof value !== 'object' || value === null) return undefined;
  return at(new Map(Object.entries(value)).get(String(name)), ...others);
}

describe('the reference', () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser.close());

  test('lists every operation and opens one, with its own assets alone and within its policy', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/docs`);
    await page.locator('.opblock').first().waitFor();
    const summaries = await page.locator('.opblock-summary-path').allTextContents();
    // Swagger UI allows a break after each slash by an invisible space.
    const paths = summaries.map((path) => path.replace(/\u200b/g, ''));
    for (const path of ['/v1/captions', '/v1/models', '/healthz']) assert.ok(paths.includes(path), path);
    await page.locator('#operations-captions-createCaption .opblock-summary-control').click();
    await page.locator('#operations-captions-createCaption').getByText('genderNeutral').first().waitFor();
  });

  for (const [screen, context] of [
    ['a desktop', {}],
    ['a phone', phone],
  ] as const) {
    test(`captions a file that is chosen, and several, with no option that was not given, on ${screen}`, async (t) => {
      const { url, scheduler } = await startService(t);
      const page = await openPage(t, browser, `${url}/docs`, { context });
      const single = await tryOut(page, 'createCaption');
      await single.locator('input[type=file]').setInputFiles(photo);
      assert.equal(at(await execute(single), 'caption'), 'A red picture, best of all');

      const batch = await tryOut(page, 'createCaptionBatch');
      for (const place of [0, 1]) {
        await batch.locator('[data-property-name=image]').getByRole('button', { name: /^Add/ }).click();
        await batch.locator('input[type=file]').nth(place).setInputFiles(photo);
      }
      const answer = await execute(batch);
      for (const place of [0, 1]) {
        assert.equal(at(answer, 'results', place, 'result', 'caption'), 'A red picture, best of all');
      }
      const [first, ...others] = scheduler.captionItems.map(({ options }) => options);
      assert.equal(others.length, 2);
      for (const options of others) assert.deepEqual(options, first);
      assert.deepEqual([first?.candidates, first?.avoidWords, first?.explain], [3, [], false]);
      const width = await page.evaluate<number>('document.documentElement.scrollWidth');
      assert.equal(width, context.viewport?.width ?? width);
    });
  }

  test('sends the options that are given, and lists each once', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/docs`);
    const operation = await tryOut(page, 'createCaption');
    for (const option of Object.keys(CaptionOptionsSchema.properties)) {
      assert.equal(await operation.locator('.parameter__name').getByText(option, { exact: true }).count(), 1);
    }
    await operation.locator('input[type=file]').setInputFiles(photo);
    await operation.getByPlaceholder('candidates').fill('2');
    const avoidWords = operation.locator('[data-property-name=avoidWords]');
    for (const [place, word] of ['dog', 'cat'].entries()) {
      await avoidWords.getByRole('button', { name: /^Add/ }).click();
      await avoidWords.locator('input').nth(place).fill(word);
    }
    await operation.locator('[data-property-name=genderNeutral] select').selectOption('true');
    await execute(operation);
    const [{ options } = {}] = scheduler.captionItems;
    assert.deepEqual(
      [options?.candidates, options?.avoidWords, options?.genderNeutral],
      [2, ['dog', 'cat'], true],
    );
  });

  test('scores texts, and captions the image of an example in JSON', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/docs`);
    const score = await tryOut(page, 'createScore');
    await score.locator('input[type=file]').setInputFiles(photo);
    assert.equal(at(await execute(score), 'scores', 0, 'text'), 'A photo of a dog');
    const inJson = await tryOut(page, 'createCaptionFromJson');
    assert.equal(at(await execute(inJson), 'caption'), 'A red picture, best of all');
  });

  test('is dark where the system is', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/docs`, { context: { colorScheme: 'dark' } });
    await page.locator('html.dark-mode').waitFor();
  });
});
