import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { startService } from '../http/service.js';
import { launchChromium, openPage } from './browser-page.js';

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

  test('is dark where the system is', async (t) => {
    const { url } = await startService(t);
    const page = await openPage(t, browser, `${url}/docs`, { context: { colorScheme: 'dark' } });
    await page.locator('html.dark-mode').waitFor();
  });
});
