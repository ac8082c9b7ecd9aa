import type { CaptionResult, ScoreResult } from '../captioner/results.js';
import { percent, readConfidence } from './confidence.js';
import { element, elementWith } from './elements.js';
import { type Grid, lightPatches, placeOf } from './patches.js';
import { drawPreview, previewSides } from './preview.js';
import { createScoreCheck } from './score-check.js';
import type { Answer, ShownProblem } from './service.js';

const actions = ['open', 'close', 'remove', 'retry', 'enter-key', 'copy-alt', 'copy-curl'] as const;
export type CardAction = (typeof actions)[number];

export interface PhotoCard {
  readonly item: HTMLLIElement;
  /** Draws the photo as sharp as it is shown. */
  draw(size: keyof typeof previewSides): void;
  showProgress(text: string): void;
  /** @param minConfidence 0…1, what was asked for when there is no caption */
  showResult(result: CaptionResult, minConfidence: number, resize: 'stretch' | 'crop'): void;
  /** @param keepsResult whether the caption from before stays below */
  showProblem(problem: ShownProblem, keepsResult: boolean): void;
}

/** @param onAction called with the button that was pressed */
export function createPhotoCard(
  file: File,
  name: string,
  onAction: (action: CardAction, button: HTMLButtonElement) => void,
  scoreText: (text: string) => Promise<Answer<ScoreResult>>,
): PhotoCard {
  const template = element(document, '#photo-template', HTMLTemplateElement);
  const item = element(document.importNode(template.content, true), 'li', HTMLLIElement);
  const image = element(item, '.photo-image', HTMLCanvasElement);
  const light = element(item, '.photo-light', HTMLCanvasElement);
  const heading = element(item, '.photo-name', HTMLElement);
  const facts = element(item, '.photo-facts', HTMLElement);

  heading.textContent = name;
  heading.title = name;
  image.setAttribute('aria-label', name);
  for (const button of item.querySelectorAll('button')) {
    const action = button.dataset['action'];
    // Buttons alike in every card are told apart by the photo they belong to.
    button.setAttribute(
      'aria-label',
      [button.textContent.trim() || button.title, name].filter((part) => part !== '').join(', '),
    );
    button.addEventListener('click', () => {
      if (isAction(action)) onAction(action, button);
    });
  }
  const shape = (width: number, height: number): void => {
    element(item, '.photo-stage', HTMLElement).style.setProperty('--ratio', String(width / height));
  };
  createScoreCheck(element(item, '.score-check', HTMLFormElement), name, scoreText);
  let drawnSide = 0;
  async function draw(size: keyof typeof previewSides): Promise<void> {
    const side = previewSides[size];
    if (side <= drawnSide) return;
    drawnSide = side;
    const drawn = await drawPreview(file, image, side);
    if (drawn) shape(image.width, image.height);
    element(item, '.photo-no-preview', HTMLElement).hidden = drawn;
    item.classList.toggle('without-preview', !drawn);
  }

  function show(...parts: readonly ('progress' | 'problem' | 'result')[]): void {
    item.dataset['state'] = parts[0];
    for (const section of item.querySelectorAll<HTMLElement>('[data-part]')) {
      section.hidden = !parts.some((part) => part === section.dataset['part']);
    }
    light.classList.remove('lit');
  }

  return {
    item,
    draw(size) {
      void draw(size);
    },
    showProgress(text) {
      element(item, '.photo-progress-text', HTMLElement).textContent = text;
      show('progress');
    },
    showProblem({ title, detail, code, requestId, mayPass, retryAfterSeconds }, keepsResult) {
      element(item, '.problem-title', HTMLElement).textContent = keepsResult
        ? `${title}. The caption below is the one from before.`
        : title;
      const wait = retryAfterSeconds === undefined ? '' : ` Try again in ${retryAfterSeconds} s.`;
      element(item, '.problem-detail', HTMLElement).textContent = `${detail}${wait}`;
      element(item, '.problem-code', HTMLElement).textContent = [code, requestId]
        .filter((part) => part !== undefined)
        .join(' · ');
      element(item, '[data-action=retry]', HTMLButtonElement).hidden = !mayPass;
      element(item, '[data-action=enter-key]', HTMLButtonElement).hidden = code !== 'unauthorized';
      if (keepsResult) show('problem', 'result');
      else {
        facts.textContent = '';
        show('problem');
      }
    },
    showResult(result, minConfidence, resize) {
      const { caption, confidence, captions, concepts, tags = [], gridSize, image: size, timing } = result;
      const shown = element(item, '.caption', HTMLElement);
      shown.textContent =
        caption ?? `No caption reaches your minimum of ${percent(minConfidence)}. The nearest are below.`;
      shown.classList.toggle('withheld', caption === null);
      image.setAttribute('aria-label', caption ?? name);
      element(item, '[data-action=copy-alt]', HTMLButtonElement).hidden = caption === null;
      showConfidence(element(item, '.confidence', HTMLElement), confidence);
      const others = caption === null ? captions : captions.slice(1);
      element(item, '.candidates', HTMLElement).hidden = others.length === 0;
      element(item, '.candidate-list', HTMLElement).replaceChildren(...others.map(candidateItem));
      element(item, '.concepts', HTMLElement).hidden = concepts.length === 0;
      element(item, '.concept-list', HTMLElement).replaceChildren(
        ...conceptItems(concepts, gridSize, light, resize),
      );
      element(item, '.concept-hint', HTMLElement).hidden = gridSize === undefined;
      element(item, '.tags', HTMLElement).hidden = tags.length === 0;
      element(item, '.tag-list', HTMLElement).replaceChildren(
        ...tags.map(({ word, probability }) =>
          elementWith('li', 'tag', word, ' ', elementWith('span', 'tag-probability', percent(probability))),
        ),
      );
      // Where the browser could not show it, the patches still need its shape.
      shape(size.width, size.height);
      facts.textContent = `${size.width} × ${size.height} ${size.format.toUpperCase()} · ${Math.round(timing.totalMs)} ms`;
      show('result');
    },
  };
}

function isAction(action: string | undefined): action is CardAction {
  return actions.some((known) => known === action);
}

function showConfidence(root: HTMLElement, confidence: number): void {
  const { percent: value, tenths, level, verdict, meaning } = readConfidence(confidence);
  root.dataset['level'] = level;
  element(root, '.confidence-value', HTMLElement).textContent = value;
  element(root, '.confidence-verdict', HTMLElement).textContent = verdict;
  element(root, '.confidence-meaning', HTMLElement).textContent = meaning;
  const dots = Array.from({ length: 10 }, (_, index) =>
    elementWith('span', index < tenths ? 'tenth full' : 'tenth'),
  );
  element(root, '.tenths', HTMLElement).replaceChildren(...dots);
}

function candidateItem({ text, confidence }: CaptionResult['captions'][number]): HTMLLIElement {
  return elementWith(
    'li',
    'candidate',
    elementWith('span', 'candidate-text', text),
    elementWith('span', 'candidate-confidence', percent(confidence)),
  );
}

/** Pointing at a concept or focusing it lights its patches; pressing it keeps them lit, for fingers. */
function conceptItems(
  concepts: CaptionResult['concepts'],
  grid: Grid | undefined,
  light: HTMLCanvasElement,
  resize: 'stretch' | 'crop',
): HTMLLIElement[] {
  let pinned: HTMLButtonElement | undefined;
  const patchesOf = new Map<HTMLButtonElement, readonly number[]>();

  function lightUp(button: HTMLButtonElement | undefined): void {
    const patches = button === undefined ? undefined : patchesOf.get(button);
    if (patches !== undefined && grid !== undefined) lightPatches(light, patches, grid, resize);
    light.classList.toggle('lit', patches !== undefined);
  }

  function pin(button: HTMLButtonElement): void {
    pinned = pinned === button ? undefined : button;
    for (const other of patchesOf.keys()) other.setAttribute('aria-pressed', String(other === pinned));
    lightUp(pinned);
  }

  return concepts.map(({ word, share, patches }) => {
    const button = elementWith('button', 'concept', word);
    // The first few share nearly all of it; a row of zeros behind the others says nothing.
    if (share >= 0.01) button.append(' ', elementWith('span', 'concept-share', percent(share)));
    button.type = 'button';
    if (patches !== undefined && grid !== undefined) {
      patchesOf.set(button, patches);
      button.append(elementWith('span', 'visually-hidden', `(most of it ${placeOf(patches, grid)})`));
      button.setAttribute('aria-pressed', 'false');
      for (const event of ['pointerenter', 'focus'] as const) {
        button.addEventListener(event, () => {
          lightUp(button);
        });
      }
      for (const event of ['pointerleave', 'blur'] as const) {
        button.addEventListener(event, () => {
          lightUp(pinned);
        });
      }
      button.addEventListener('click', () => {
        pin(button);
      });
    }
    return elementWith('li', '', button);
  });
}
