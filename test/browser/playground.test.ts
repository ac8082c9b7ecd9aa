import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { ServiceError } from '../../src/errors.js';
import { startService } from '../http/service.js';
import { assertAccessible, launchChromium, openPage } from './browser-page.js';
import { blue, broken, captioned, card, chooseFiles, picture, type Picture, red } from './pictures.js';

/** Sends an event that carries files, as a browser does at a drop or a paste. */
async function transfer(page: Page, event: 'drop' | 'paste', pictures: readonly Picture[]): Promise<void> {
  const list = pictures.map(({ name, mimeType, buffer }) => ({
    name,
    type: mimeType,
    base64: buffer.toString('base64'),
  }));
  await page.evaluate(`{
    const data = new DataTransfer();
    for (const { name, type, base64 } of ${JSON.stringify(list)}) {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      data.items.add(new File([bytes], name, { type }));
    }
    const bubbles = { bubbles: true, cancelable: true };
    document.body.dispatchEvent(${
      event === 'drop'
        ? "new DragEvent('drop', { ...bubbles, dataTransfer: data })"
        : "new ClipboardEvent('paste', { ...bubbles, clipboardData: data })"
    });
  }`);
}

/** How dark the layer over the only photo is in the middle of each quarter, 0…255, row by row. */
function darkness(page: Page): Promise<number[]> {
  return page.evaluate<number[]>(`{
    const canvas = document.querySelector('.photo-light');
    const context = canvas.getContext('2d');
    [[1, 1], [3, 1], [1, 3], [3, 3]].map(([x, y]) =>
      context.getImageData((canvas.width * x) / 4, (canvas.height * y) / 4, 1, 1).data[3]);
  }`);
}

describe('the playground', () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser.close());

  test('photos that are dropped are captioned, each shown as soon as it is done', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    await page.route('**/v1/captions', async (route) => {
      if (route.request().postDataBuffer()?.includes('blue.png')) await gate;
      await route.continue();
    });
    await transfer(page, 'drop', [blue, red]);
    await captioned(page, 'red.png', 'red');
    await card(page, 'blue.png').getByText('Captioning').waitFor();
    await page.getByText('1 of 2 done').waitFor();
    release();
    await captioned(page, 'blue.png', 'blue');
    const shown = card(page, 'red.png');
    await shown.getByText('75 %', { exact: true }).waitFor();
    await shown.getByText('About 8 in 10').waitFor();
    await shown.getByText('A red picture, second of all').waitFor();
    await shown.getByRole('button', { name: /^dog/ }).waitFor();
  });

  test('a photo that is pasted is captioned, and a paste without a file does nothing', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await transfer(page, 'paste', []);
    await transfer(page, 'paste', [blue]);
    await captioned(page, 'blue.png', 'blue');
    assert.equal(scheduler.items.length, 1);
  });

  test('under the strictest policy that lets a page load, all still works', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { policy: "default-src 'self'" });
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    const colour = await page.evaluate<number[]>(`(async () => {
      const context = document.querySelector('.photo-image').getContext('2d');
      const read = () => [...context.getImageData(5, 5, 1, 1).data];
      while (read()[3] === 0) await new Promise((resolve) => requestAnimationFrame(resolve));
      return read();
    })()`);
    assert.deepEqual(colour, [255, 32, 32, 255]);
  });

  test('a broken file shows its problem beside the captions of the others', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [422] });
    await chooseFiles(page, [broken, red]);
    await captioned(page, 'red.png', 'red');
    const shown = card(page, 'broken.jpg');
    await shown.getByText('The image cannot be read').waitFor();
    await shown.getByText('The image is truncated or damaged.').waitFor();
    await shown.getByText('image_unreadable').waitFor();
    await page.getByText('1 done, 1 failed').waitFor();
  });

  test('a full queue says when to try again, and trying again works', async (t) => {
    const { url, scheduler } = await startService(t);
    scheduler.capacity = 0;
    const page = await openPage(t, browser, `${url}/`, { statuses: [503] });
    await chooseFiles(page, [red]);
    const shown = card(page, 'red.png');
    await shown.getByText('The queue is full', { exact: true }).waitFor();
    await shown.getByText('Try again in 7 s.').waitFor();
    scheduler.capacity = 64;
    await shown.getByRole('button', { name: 'Try again' }).click();
    await captioned(page, 'red.png', 'red');
  });

  test('a service that is not ready is said so, before and after a photo', async (t) => {
    const { url, scheduler } = await startService(t);
    scheduler.readiness = { ready: false, reason: 'the model is warming up' };
    const page = await openPage(t, browser, `${url}/`, { statuses: [503] });
    await page.getByText('Not ready', { exact: true }).waitFor();
    await chooseFiles(page, [red]);
    await card(page, 'red.png').getByText('the model is warming up').waitFor();
  });

  test('where a key is needed, it is asked for, sent, and kept for the tab alone', async (t) => {
    const key = 'a-key-of-some-length';
    const { url, scheduler } = await startService(t, { API_KEYS: key });
    const page = await openPage(t, browser, `${url}/`, { statuses: [401] });
    await page.getByText('Ready', { exact: true }).waitFor();
    await chooseFiles(page, [red]);
    const shown = card(page, 'red.png');
    await shown.getByText('A valid API key is needed').waitFor();
    assert.equal(scheduler.items.length, 0);
    await shown.getByRole('button', { name: 'Enter an API key' }).click();
    await page.keyboard.type(key);
    await page.keyboard.press('Enter');
    await captioned(page, 'red.png', 'red');
    await page.getByText('example 1.0.0').waitFor();
    await page.reload();
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    assert.equal(await page.evaluate<number>('localStorage.length'), 0);
  });

  test('pointing at a concept lights its patches, exactly over the photo', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    const tall = await picture('tall.png', '#20ff20', 60, 200);
    await chooseFiles(page, [tall]);
    await captioned(page, 'tall.png', 'green');
    const shown = card(page, 'tall.png');
    const light = shown.locator('.photo-light');
    assert.equal(await shown.locator('.photo-light.lit').count(), 0);
    await shown.getByRole('button', { name: /^dog/ }).hover();
    await shown.locator('.photo-light.lit').waitFor();
    // The fake model's cosines are 0.1, 0.2, 0.3 and 0.4 of 2 × 2 patches.
    const [topLeft = 0, topRight = 0, bottomLeft = 0, bottomRight = 0] = await darkness(page);
    assert.ok(topLeft > 180 && topRight > 180, `${topLeft} and ${topRight} are veiled`);
    assert.ok(bottomLeft < topRight && bottomRight < bottomLeft, `${bottomLeft}, ${bottomRight}`);
    const image = await shown.locator('.photo-image').boundingBox();
    assert.deepEqual(await light.boundingBox(), image);
    const ratio = (image?.width ?? 0) / (image?.height ?? 1);
    assert.ok(Math.abs(ratio - 60 / 200) < 0.01, `${ratio}`);
    await page.mouse.move(0, 0);
    await shown.locator('.photo-light:not(.lit)').waitFor();
  });

  test('a keyboard is enough: choose, look at a concept, pin it, remove', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    const focused = (): Promise<string> =>
      page.evaluate<string>('document.activeElement.getAttribute("aria-label") ?? document.activeElement.id');
    // Early, because the browser has to be told to hand the chooser over.
    const chooser = page.waitForEvent('filechooser');
    // Past the link to the captions and the one to the reference.
    for (let presses = 0; presses < 3; presses++) await page.keyboard.press('Tab');
    assert.equal(await focused(), 'files');
    await page.keyboard.press('Enter');
    await (await chooser).setFiles([red, blue]);
    await captioned(page, 'red.png', 'red');
    await captioned(page, 'blue.png', 'blue');
    const shown = card(page, 'red.png');
    const concept = shown.getByRole('button', { name: /^dog/ });
    const isConcept = 'document.activeElement.classList.contains("concept")';
    for (let presses = 0; presses < 20 && !(await page.evaluate<boolean>(isConcept)); presses++)
      await page.keyboard.press('Tab');
    await shown.locator('.photo-light.lit').waitFor();
    await page.keyboard.press('Space');
    assert.equal(await concept.getAttribute('aria-pressed'), 'true');
    await page.keyboard.press('Tab');
    await shown.locator('.photo-light.lit').waitFor();
    await shown.getByRole('button', { name: 'Remove, red.png' }).focus();
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'Remove, blue.png');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'files');
    assert.equal(await page.getByRole('heading', { name: 'Captions' }).count(), 0);
  });

  test('a screen reader hears what comes: the photo, its caption, where a concept is, a problem', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [422] });
    await chooseFiles(page, [red, broken]);
    const log = page.getByRole('log');
    await log.getByText('2 photos added').waitFor();
    await log.getByText('red.png: A red picture, best of all. Confidence 75 %, likely right.').waitFor();
    await log.getByText('broken.jpg: The image cannot be read.').waitFor();
    await page.getByRole('img', { name: 'A red picture, best of all' }).waitFor();
    await page.getByRole('button', { name: 'dog 90 % (most of it at the bottom right)' }).waitFor();
  });

  test('the caption is copied as alt text, and as a curl command that gets the same caption', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, {
      context: { permissions: ['clipboard-read', 'clipboard-write'] },
    });
    const name = 'it\'s "red"; $HOME.png';
    await page.locator('#options > summary').click();
    await page.getByLabel('Concepts to look for').fill("@dog's <bone>; x=y");
    await chooseFiles(page, [{ ...red, name }]);
    await captioned(page, name, 'red');
    const clipboard = (): Promise<string> => page.evaluate<string>('navigator.clipboard.readText()');
    await card(page, name).getByRole('button', { name: 'Copy alt text' }).click();
    await card(page, name).getByText('Copied').waitFor();
    await page.getByRole('log').getByText('Copied').waitFor();
    assert.equal(await clipboard(), 'A red picture, best of all');
    await card(page, name).getByRole('button', { name: 'Copy as curl' }).click();
    await card(page, name).getByText('Copied').nth(1).waitFor();
    const folder = await mkdtemp(join(tmpdir(), 'curl-'));
    t.after(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, name), red.buffer);
    const { stdout } = await promisify(execFile)('sh', ['-c', `${await clipboard()} --silent`], {
      cwd: folder,
    });
    assert.match(stdout, /"caption":"A red picture, best of all"/);
  });

  test('a key is not in the curl command, but the header is', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, {
      context: { permissions: ['clipboard-read', 'clipboard-write'] },
    });
    await page.locator('#options > summary').click();
    await page.getByLabel('API key').fill('a-key-of-some-length');
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    await card(page, 'red.png').getByRole('button', { name: 'Copy as curl' }).click();
    await card(page, 'red.png').getByText('Copied').waitFor();
    const command = await page.evaluate<string>('navigator.clipboard.readText()');
    assert.match(command, /-H "Authorization: Bearer \$API_KEY"/);
    assert.doesNotMatch(command, /a-key/);
  });

  test('where the browser gives no clipboard, the text is shown selected', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, {
      before: "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })",
    });
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    await card(page, 'red.png').getByRole('button', { name: 'Copy alt text' }).click();
    await page.getByRole('dialog').waitFor();
    assert.equal(await page.evaluate<string>('getSelection().toString()'), 'A red picture, best of all');
    await assertAccessible(page);
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
  });

  test('many photos go up a few at a time, and none is left out', async (t) => {
    const { url, scheduler } = await startService(t);
    const release = scheduler.hold();
    const page = await openPage(t, browser, `${url}/`);
    const many = Array.from({ length: 11 }, (_, index) => ({ ...red, name: `${index}.png` }));
    await chooseFiles(page, many);
    await scheduler.waiting(4);
    assert.equal(await page.getByText('Waiting', { exact: true }).count(), 7);
    assert.equal(scheduler.admissions, 4);
    release();
    await page.getByText('11 done', { exact: true }).waitFor();
    assert.equal(scheduler.items.length, 11);
  });

  test('a photo that is removed frees its slot', async (t) => {
    const { url, scheduler } = await startService(t);
    scheduler.hold();
    const page = await openPage(t, browser, `${url}/`);
    await chooseFiles(page, [red]);
    await scheduler.waiting(1);
    await card(page, 'red.png').getByRole('button', { name: 'Remove' }).click();
    await scheduler.idle();
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of [1280, 320]) {
      test(`axe finds nothing, and nothing is wider than the screen: ${colorScheme}, ${width} px`, async (t) => {
        const { url } = await startService(t);
        const page = await openPage(t, browser, `${url}/`, {
          context: { colorScheme, viewport: { width, height: 800 }, reducedMotion: 'reduce' },
          statuses: [422],
        });
        await page.getByText('example 1.0.0').waitFor();
        await assertAccessible(page);
        await page.locator('#options > summary').click();
        await chooseFiles(page, [{ ...red, name: `${'long'.repeat(30)}.png` }, blue, broken]);
        await page.getByText('2 done, 1 failed').waitFor();
        await card(page, 'blue.png').getByText('What does it mean?').click();
        await card(page, 'blue.png').getByRole('button', { name: /^dog/ }).click();
        await assertAccessible(page);
        assert.equal(await page.evaluate<number>('document.documentElement.scrollWidth'), width);
      });
    }
  }

  test('nothing moves for those who asked for less motion', async (t) => {
    const { url, scheduler } = await startService(t);
    const release = scheduler.hold();
    const moving = async (reducedMotion: 'reduce' | 'no-preference'): Promise<number> => {
      const page = await openPage(t, browser, `${url}/`, { context: { reducedMotion } });
      await chooseFiles(page, [red]);
      await page.getByText('Captioning').waitFor();
      return page.evaluate<number>('document.getAnimations().length');
    };
    assert.ok((await moving('no-preference')) > 0);
    assert.equal(await moving('reduce'), 0);
    release();
  });

  test('a drawn photo is at hand for who has none', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await page.getByRole('button', { name: 'Try a drawn one' }).click();
    await captioned(page, 'sample.jpg', 'green');
    assert.equal(scheduler.items.length, 1);
  });

  test('tags stand beside concepts, and it is said that concepts light the photo', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await chooseFiles(page, [red]);
    const shown = card(page, 'red.png');
    await shown.getByText('picture 60 %').waitFor();
    await shown.getByText('Point at one to light where it is').waitFor();
  });

  test('a text of the user is checked against the photo', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`);
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    const field = page.getByLabel('Alt text of yours, red.png');
    await field.fill('a red wall');
    await field.press('Enter');
    await page.getByText('98 %: it fits this photo').waitFor();
    await field.fill('a green wall');
    assert.equal(await page.getByText('98 %').count(), 0);
    await card(page, 'red.png').getByRole('button', { name: 'Check' }).click();
    await page.getByText('2 %: it does not fit this photo').waitFor();
  });

  test('nothing offers to try again where that cannot help', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [422] });
    await chooseFiles(page, [broken]);
    await card(page, 'broken.jpg').getByText('image_unreadable').waitFor();
    assert.equal(await page.getByRole('button', { name: /Try again/ }).count(), 0);
  });

  test('a photo that ends the model is not offered to be sent again', async (t) => {
    const { url, scheduler } = await startService(t);
    scheduler.failWith(new ServiceError('image_crashes_model', 'It ended three processes.'));
    const page = await openPage(t, browser, `${url}/`, { statuses: [500] });
    await chooseFiles(page, [red]);
    await card(page, 'red.png').getByText('image_crashes_model').waitFor();
    assert.equal(await page.getByRole('button', { name: /Try again/ }).count(), 0);
  });

  test('a caption stays when the service refuses to caption the photo again', async (t) => {
    const { url, scheduler } = await startService(t);
    const page = await openPage(t, browser, `${url}/`, { statuses: [503] });
    await chooseFiles(page, [red]);
    await captioned(page, 'red.png', 'red');
    scheduler.capacity = 0;
    await page.getByRole('button', { name: 'Caption all again' }).click();
    await page.getByText('The queue is full. The caption below is the one from before.').waitFor();
    await captioned(page, 'red.png', 'red');
    await page.getByText('1 done', { exact: true }).waitFor();
    await assertAccessible(page);
    scheduler.capacity = 64;
    await page.getByRole('button', { name: 'Try again, red.png' }).click();
    await card(page, 'red.png').locator('.photo-problem').waitFor({ state: 'hidden' });
    await captioned(page, 'red.png', 'red');
  });

  test('on a phone the photo stays in sight while its concepts are tapped', async (t) => {
    const { url } = await startService(t);
    const context = { viewport: { width: 390, height: 700 }, hasTouch: true, isMobile: true };
    const page = await openPage(t, browser, `${url}/`, { context });
    await chooseFiles(page, [await picture('tall.png', '#ff2020', 300, 600)]);
    await captioned(page, 'tall.png', 'red');
    const concept = page.getByRole('button', { name: /^dog/ });
    // To the top of the window, where the photo would have gone.
    await concept.evaluate('(button) => button.scrollIntoView({ block: "end" })');
    await concept.tap();
    await page.locator('.photo-light.lit').waitFor();
    const photo = await page.locator('.photo-image').boundingBox();
    const button = await concept.boundingBox();
    assert.ok(photo !== null && button !== null);
    assert.ok(photo.y >= 0 && photo.y + photo.height <= 700, JSON.stringify(photo));
    assert.ok(button.y >= photo.y + photo.height, 'the photo covers the concept');
    await assertAccessible(page);
  });
});
