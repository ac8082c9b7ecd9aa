import type { Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { noise } from '../images/drawn.js';

export interface Picture {
  readonly name: string;
  readonly mimeType: string;
  readonly buffer: Buffer;
}

/** A picture whose caption the fake model takes from its colour. */
export async function picture(name: string, colour: string, width = 60, height = 40): Promise<Picture> {
  const image = sharp({ create: { width, height, channels: 3, background: colour } });
  return { name, mimeType: 'image/png', buffer: await image.png().toBuffer() };
}

export const red = await picture('red.png', '#ff2020');
export const green = await picture('green.png', '#20ff20');
export const blue = await picture('blue.png', '#2020ff');
export const broken: Picture = {
  name: 'broken.jpg',
  mimeType: 'image/jpeg',
  buffer: (await noise().jpeg().toBuffer()).subarray(0, 2000),
};

export const chooseFiles = (page: Page, pictures: readonly Picture[]): Promise<void> =>
  page.getByLabel('Choose photos').setInputFiles(pictures);

export const card = (page: Page, name: string): Locator =>
  page.getByRole('listitem').filter({ has: page.getByRole('heading', { name, exact: true }) });

/** Waits until the playground shows the caption that the fake model gives. */
export const captioned = (page: Page, name: string, colour: string): Promise<void> =>
  card(page, name)
    .locator('.caption', { hasText: `A ${colour} picture, best of all` })
    .waitFor();
