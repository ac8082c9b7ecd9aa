import { announce } from './announce.js';
import { element } from './elements.js';

/** For who has no photo at hand: one that this project has drawn. */
export function offerSample(addPhotos: (files: readonly File[]) => void): void {
  element(document, '#sample', HTMLButtonElement).addEventListener('click', () => {
    void fetchSample().then((file) => {
      if (file === undefined) {
        announce('The drawn photo could not be loaded');
        return;
      }
      addPhotos([file]);
      // The button is gone once there are photos.
      element(document, '#results', HTMLElement).focus({ preventScroll: true });
    });
  });
}

async function fetchSample(): Promise<File | undefined> {
  try {
    const response = await fetch(new URL('playground/sample.jpg', document.baseURI));
    if (!response.ok) return undefined;
    return new File([await response.blob()], 'sample.jpg', { type: 'image/jpeg' });
  } catch {
    return undefined;
  }
}
