import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { AxeBuilder } from '@axe-core/playwright';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

/** Debian's; elsewhere the variable names one. */
const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

export async function launchChromium(): Promise<Browser> {
  if (!existsSync(executablePath)) {
    throw new Error(
      `There is no Chromium at ${executablePath}: install it, or set CHROMIUM to where it lies.`,
    );
  }
  return chromium.launch({ executablePath, args: ['--no-sandbox'] });
}

export interface OpenOptions {
  readonly context?: BrowserContextOptions;
  /** Statuses of answers that are part of the test; any other error in the console fails it. */
  readonly statuses?: readonly number[];
  /** Replaces the page's own policy. */
  readonly policy?: string;
  /** JavaScript that runs before the page's own. */
  readonly before?: string;
}

/**
 * Opens a page in a context of its own. When the test ends, it fails if the page asked anyone but its own origin for
 * something, broke its content security policy, or had an error.
 */
export async function openPage(
  t: TestContext,
  browser: Browser,
  address: string,
  { context: contextOptions, statuses = [], policy, before }: OpenOptions = {},
): Promise<Page> {
  const context = await browser.newContext(contextOptions);
  const { origin } = new URL(address);
  const faults: string[] = [];
  const page = await context.newPage();
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) faults.push(`asked for ${request.url().slice(0, 200)}`);
  });
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    // Chromium reports there each answer that is an error, and each violation of the policy.
    const status = /the server responded with a status of (\d+)/.exec(message.text())?.[1];
    if (message.type() === 'error' && !statuses.includes(Number(status))) faults.push(message.text());
  });
  if (before !== undefined) await page.addInitScript(before);
  if (policy !== undefined) {
    await page.route(address, async (route) => {
      const response = await route.fetch();
      const headers = { ...response.headers(), 'content-security-policy': policy };
      await route.fulfill({ response, headers });
    });
  }
  await page.goto(address);
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  return page;
}

export async function assertAccessible(page: Page): Promise<void> {
  const { violations, passes } = await new AxeBuilder({ page }).analyze();
  assert.ok(passes.length > 10);
  assert.deepEqual(
    violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]),
    [],
  );
}
