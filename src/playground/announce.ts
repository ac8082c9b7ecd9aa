import { element, elementWith } from './elements.js';

/** Lines that are kept: a screen reader reads new ones, and nobody goes back far. */
const maxLines = 20;

/** Tells a screen reader what has just happened elsewhere on the page. */
export function announce(text: string): void {
  const log = element(document, '#announcements', HTMLElement);
  log.append(elementWith('p', '', text));
  while (log.childElementCount > maxLines) log.firstElementChild?.remove();
}
