// Takes the picture of the page at / that README shows, with the sample photo that scripts/draw-sample.mjs draws:
//   npm run picture
// It needs a Chromium, as the tests in test/browser do.
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import sharp from 'sharp';
import { RunningService } from '../dist/test/running-service.js';

const target = fileURLToPath(new URL('../docs/playground.webp', import.meta.url));
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';

const service = await RunningService.start({ WORKERS: '1' });
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage({ viewport: { width: 1120, height: 1030 }, deviceScaleFactor: 1.5 });
  await page.goto(service.url);
  await page.getByRole('button', { name: 'Try a drawn one' }).click();
  const concept = page.locator('.concept').first();
  await concept.click();
  await page.locator('.photo-light.lit').waitFor();
  await page.evaluate('scrollTo(0, 0)');
  // The light fades in.
  await page.waitForTimeout(500);
  await sharp(await page.screenshot())
    .webp({ quality: 82 })
    .toFile(target);
} finally {
  await browser.close();
  service.child.kill('SIGTERM');
  await service.exited;
}
