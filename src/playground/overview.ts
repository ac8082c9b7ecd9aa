import { levelOf } from './confidence.js';
import { element } from './elements.js';

/** What the overview knows of a photo. */
export interface Listed {
  readonly item: HTMLLIElement;
  readonly state: 'pending' | 'done' | 'failed';
  /** 0…1, of a photo that is done. */
  readonly confidence: number | undefined;
}

export interface Overview {
  /** Shows which photos the filter lets through; called whenever one changes. */
  update(photos: readonly Listed[]): void;
  isGrid(): boolean;
}

/** From this many photos on, the page begins with the grid. */
const photosOfAGrid = 4;

/** All photos at a glance, as a grid or one below the other, and only those of a level of confidence. */
export function createOverview(onChange: () => void): Overview {
  const list = element(document, '#photos', HTMLElement);
  const filter = element(document, '#filter', HTMLSelectElement);
  const grid = element(document, '#view-grid', HTMLButtonElement);
  const bar = element(document, '#overview-bar', HTMLElement);
  const none = element(document, '#none-left', HTMLElement);
  let isChosen = false;

  function show(asGrid: boolean): void {
    list.classList.toggle('grid', asGrid);
    grid.setAttribute('aria-pressed', String(asGrid));
  }

  grid.addEventListener('click', () => {
    isChosen = true;
    show(!list.classList.contains('grid'));
    onChange();
  });
  filter.addEventListener('change', onChange);
  return {
    update(photos) {
      if (!isChosen) show(photos.length >= photosOfAGrid);
      const shown = photos.filter((photo) => {
        const passes = isShown(photo, filter.value);
        photo.item.hidden = !passes;
        return passes;
      });
      // One photo needs no overview.
      bar.hidden = photos.length < 2;
      none.hidden = photos.length === 0 || shown.length > 0;
    },
    isGrid: () => list.classList.contains('grid'),
  };
}

/** @param filter all, failed, or a level of confidence */
function isShown({ state, confidence }: Listed, filter: string): boolean {
  if (filter === 'all') return true;
  // What has no answer yet belongs to no level, and whoever has just added it wants to see it.
  if (confidence === undefined && state === 'pending') return true;
  if (filter === 'failed') return state === 'failed';
  return confidence !== undefined && levelOf(confidence) === filter;
}
