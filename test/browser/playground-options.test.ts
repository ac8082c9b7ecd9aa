import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { CaptionOptionsSchema } from '../../src/captioner/options.js';
import { startService } from '../http/service.js';
import { assertAccessible, launchChromium, openPage } from './browser-page.js';
import { blue, captioned, card, chooseFiles, red } from './pictures.js';

/** A bound of the option's schema. */
function keyword(schema: object, name: string): number {
  return Number(new Map<string, unknown>(Object.entries(schema)).get(name));
}

describe('the options of the playground', () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser.close());

  test('options reach the model, and what is below the minimum is held back', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    await page.locator('#options > summary').click();
    await page.getByLabel('Concepts to look for').fill('guide dog, ramp,\nramp');
    await page.getByLabel('these and the model’s own').check();
    await page.getByLabel('Words to avoid').fill('photo, picture');
    await page.getByLabel('Gender-neutral').check();
    await page.getByLabel('Minimum confidence').fill('80');
    await page.getByRole('button', { name: 'Caption all again' }).click();
    const shown = card(page, 'red.png');
    await shown.getByText('No caption reaches your minimum of 80 %').waitFor();
    await shown.getByText('A red picture, best of all').waitFor();
    assert.equal(await shown.getByRole('button', { name: 'Copy alt text' }).count(), 0);
    const [before, after] = scheduler.captionItems.map(({ options }) => options);
    assert.deepEqual(before?.concepts, []);
    assert.deepEqual(
      [after?.concepts, after?.conceptsMode, after?.avoidWords, after?.genderNeutral, after?.explain],
      [['guide dog', 'ramp'], 'extend', ['photo', 'picture'], true, true],
    );
  });

  test('the number of captions, the beams and the length reach the model', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await page.locator('#options > summary').click();
    await page.getByLabel('Captions to show').fill('5');
    await page.getByLabel('Beams of the search').fill('6');
    await page.getByLabel('Longest caption, in words').fill('9');
    await chooseFiles(page, [red]);
    await card(page, 'red.png').getByText('A red picture, fifth of all').waitFor();
    const [{ candidates, beamSize, maxLength } = {}] = scheduler.captionItems.map(({ options }) => options);
    assert.deepEqual([candidates, beamSize, maxLength], [5, 6, 9]);
  });

  test('an option that the service would refuse is found before anything is sent, and spoils no caption', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await page.getByText('example 1.0.0').waitFor();
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    await page.locator('#options > summary').click();
    for (const [label, value, problem] of [
      ['Concepts to look for', 'x'.repeat(41), /At most 40 letters each/],
      ['Words to avoid', 'photo, two words', /“two words” is not a single word/],
      ['Captions to show', '11', /A whole number from 1 to 10/],
      ['Beams of the search', '2', /At least as many as there are captions: 3/],
      ['Longest caption, in words', '21', /A whole number from 4 to 20/],
    ] as const) {
      const field = page.getByLabel(label);
      await field.fill(value);
      const said = page.locator('.field-problem', { hasText: problem });
      await said.waitFor();
      await page.getByRole('button', { name: 'Caption all again' }).click();
      assert.equal(await page.evaluate<string>('document.activeElement.id'), await field.getAttribute('id'));
      if (label === 'Words to avoid') await assertAccessible(page);
      await chooseFiles(page, [blue]);
      await card(page, 'blue.png').getByText('An option has to be changed').waitFor();
      await page.getByRole('button', { name: 'Remove, blue.png' }).click();
      await field.fill('');
      assert.equal(await said.count(), 0);
    }
    await captioned(page, 'red.png', 'red');
    assert.equal(scheduler.admissions, 1);
  });

  test('a photo that comes while an option is wrong waits, and goes when the option is right', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await page.locator('#options > summary').click();
    const avoid = page.getByLabel('Words to avoid');
    await avoid.fill('two words');
    await chooseFiles(page, [blue]);
    await card(page, 'blue.png').getByText('An option has to be changed').waitFor();
    assert.equal(scheduler.admissions, 0);
    await avoid.fill('words');
    await avoid.blur();
    await captioned(page, 'blue.png', 'blue');
    assert.deepEqual(scheduler.captionItems[0]?.options.avoidWords, ['words']);
  });

  test('a caption stays when an option becomes wrong before its photo is sent again', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    const many = Array.from({ length: 5 }, (_, index) => ({ ...red, name: `${index}.png` }));
    await chooseFiles(page, many);
    await page.getByText('5 done', { exact: true }).waitFor();
    await page.locator('#options > summary').click();
    const release = scheduler.holdFrom(5);
    await page.getByRole('button', { name: 'Caption all again' }).click();
    await scheduler.waiting(4);
    // As it reads while the second word is on its way.
    await page.getByLabel('Words to avoid').fill('guide-');
    release();
    await page.getByText('5 done', { exact: true }).waitFor();
    await captioned(page, '4.png', 'red');
    assert.equal(scheduler.captionItems.length, 9);
  });

  test('the page takes what the service takes, and no more', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await page.getByText('example 1.0.0').waitFor();
    await page.locator('#options > summary').click();
    const { candidates, beamSize, maxLength, concepts, avoidWords } = CaptionOptionsSchema.properties;
    for (const [id, schema] of [
      ['candidates', candidates],
      ['beam-size', beamSize],
      // As the example model, whose captions have at most 20 words.
      ['max-length', { ...maxLength, maximum: 20 }],
    ] as const) {
      const field = page.locator(`#${id}`);
      const bounds = [await field.getAttribute('min'), await field.getAttribute('max')].map(Number);
      assert.deepEqual(bounds, [keyword(schema, 'minimum'), keyword(schema, 'maximum')], id);
    }
    for (const [id, schema] of [
      ['concepts', concepts],
      ['avoid', avoidWords],
    ] as const) {
      const field = page.locator(`#${id}`);
      const maxItems = keyword(schema, 'maxItems');
      const maxLetters = keyword(schema.items, 'maxLength');
      const words = (count: number): string =>
        Array.from({ length: count }, (_, index) => `w${index}`).join();
      for (const [text, isWrong] of [
        [words(maxItems), false],
        [words(maxItems + 1), true],
        ['x'.repeat(maxLetters), false],
        ['x'.repeat(maxLetters + 1), true],
      ] as const) {
        await field.fill(text);
        assert.equal(await field.getAttribute('aria-invalid'), String(isWrong), text);
      }
    }
  });
});
