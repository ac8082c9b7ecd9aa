import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { startService } from '../http/service.js';
import { assertAccessible, launchChromium, openPage } from './browser-page.js';
import { blue, broken, card, chooseFiles, green, picture, red } from './pictures.js';

async function saved(page: Page, button: string): Promise<string> {
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: button }).click(),
  ]);
  return readFile(await download.path(), 'utf8');
}

const focusedName = (page: Page): Promise<string> =>
  page.evaluate<string>('document.activeElement.getAttribute("aria-label")');

const shownNames = (page: Page): Promise<string[]> =>
  page.locator('.photo:visible .photo-name').allTextContents();

describe('the playground with many photos', () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser.close());

  test('four are a grid, from which one is opened', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    const many = Array.from({ length: 4 }, (_, index) => ({ ...red, name: `${index}.png` }));
    await chooseFiles(page, many);
    await page.getByText('4 done', { exact: true }).waitFor();
    const grid = page.getByRole('button', { name: 'Grid' });
    assert.equal(await grid.getAttribute('aria-pressed'), 'true');
    assert.equal(await page.getByRole('button', { name: /^Copy alt text/ }).count(), 0);
    await assertAccessible(page);
    await page.getByRole('button', { name: 'Show all of it, 2.png' }).click();
    const opened = card(page, '2.png');
    await opened.getByRole('button', { name: 'Copy alt text' }).waitFor();
    const top = (await opened.boundingBox())?.y ?? NaN;
    assert.ok(top > -1 && top < 400, `${top}`);
    await assertAccessible(page);
    // The others are tiles still, so that closing it leads back to where one was.
    assert.equal(await page.getByRole('button', { name: /^Copy alt text/ }).count(), 1);
    assert.equal(await focusedName(page), 'Close, 2.png');
    await page.keyboard.press('Enter');
    assert.equal(await page.getByRole('button', { name: /^Copy alt text/ }).count(), 0);
    assert.equal(await focusedName(page), 'Show all of it, 2.png');
  });

  test('a tile holds a small picture, and an opened one all that the screen can show', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    const large = await picture('large.png', '#ff2020', 1500, 1000);
    await chooseFiles(page, [large, red, green, blue]);
    await page.getByText('4 done', { exact: true }).waitFor();
    // The page's policy forbids what `waitForFunction` does.
    const drawn = (width: number): Promise<void> =>
      page.evaluate<undefined>(`(async () => {
        const canvas = document.querySelector('.photo-image');
        while (canvas.width !== ${width}) await new Promise((resolve) => requestAnimationFrame(resolve));
      })()`);
    await drawn(480);
    await page.getByRole('button', { name: 'Show all of it, large.png' }).click();
    await drawn(1280);
  });

  test('a photo that is added is seen, though the filter leaves out others', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [422] });
    await chooseFiles(page, [red, broken, green]);
    await page.getByText('2 done, 1 failed').waitFor();
    await page.locator('#filter').selectOption('failed');
    const release = scheduler.hold();
    await chooseFiles(page, [{ ...blue, name: 'new.png' }]);
    await scheduler.waiting(1);
    assert.deepEqual(await shownNames(page), ['new.png', 'broken.jpg']);
    release();
    await page.getByText('3 done, 1 failed').waitFor();
    assert.deepEqual(await shownNames(page), ['broken.jpg']);
  });

  test('the focus goes to a photo that the filter shows when one is removed', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [422] });
    await chooseFiles(page, [red, broken, green]);
    await page.getByText('2 done, 1 failed').waitFor();
    await page.locator('#filter').selectOption('high');
    await page.getByRole('button', { name: 'Remove, red.png' }).click();
    assert.equal(await focusedName(page), 'Remove, green.png');
  });

  test('the filter leaves those of a level of confidence, and what is saved is what is shown', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [422] });
    const odd = { ...blue, name: '=SUM(1), "odd".png' };
    await chooseFiles(page, [red, odd, broken]);
    await page.getByText('2 done, 1 failed').waitFor();
    assert.deepEqual(await shownNames(page), ['red.png', odd.name, 'broken.jpg']);
    const lines = (await saved(page, 'Save CSV')).split('\r\n');
    assert.deepEqual(lines, [
      '\uFEFFfile,caption,confidence,tags,concepts,width,height,problem',
      'red.png,"A red picture, best of all",0.75,red picture,dog,60,40,',
      `"'=SUM(1), ""odd"".png","A blue picture, best of all",0.75,blue picture,dog,60,40,`,
      'broken.jpg,,,,,,,The image is truncated or damaged.',
      '',
    ]);
    await page.locator('#filter').selectOption('failed');
    assert.deepEqual(await shownNames(page), ['broken.jpg']);
    assert.deepEqual(JSON.parse(await saved(page, 'Save JSON')), [
      { file: 'broken.jpg', problem: 'The image is truncated or damaged.' },
    ]);
    await page.locator('#filter').selectOption('high');
    assert.deepEqual(await shownNames(page), ['red.png', odd.name]);
    const rows: unknown = JSON.parse(await saved(page, 'Save JSON'));
    assert.ok(Array.isArray(rows) && rows.length === 2);
    assert.doesNotMatch(JSON.stringify(rows), /patches|gridSize/);
    await page.locator('#filter').selectOption('low');
    await page.getByText('No photo is of this kind.').waitFor();
  });

  test('a text puts the photos that fit it first, and none again the order in which they came', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await chooseFiles(page, [red, green, blue]);
    await page.getByText('3 done', { exact: true }).waitFor();
    const search = page.getByLabel('Find photos by a text');
    await search.fill('something green');
    await search.press('Enter');
    await page.getByText('Best first', { exact: true }).waitFor();
    assert.equal((await shownNames(page))[0], 'green.png');
    assert.equal(scheduler.items.filter(({ kind }) => kind === 'embed-image').length, 3);
    await search.fill('something red');
    await search.press('Enter');
    await page.locator('.photo:first-child', { hasText: 'red.png' }).waitFor();
    // Each photo is embedded once.
    assert.equal(scheduler.items.filter(({ kind }) => kind === 'embed-image').length, 3);
    await search.fill('');
    await search.press('Enter');
    await page.locator('.photo:nth-child(2)', { hasText: 'green.png' }).waitFor();
    assert.deepEqual(await shownNames(page), ['red.png', 'green.png', 'blue.png']);
  });
});
