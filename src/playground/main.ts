import { announce } from './announce.js';
import { readConfidence } from './confidence.js';
import { copyText } from './copy.js';
import { curlCommand } from './curl.js';
import { element } from './elements.js';
import { takePhotos } from './intake.js';
import { offerDownloads } from './downloads.js';
import { createLimit } from './limit.js';
import { createOptions } from './options.js';
import { createOverview } from './overview.js';
import { type CardAction, createPhotoCard, type PhotoCard } from './photo-card.js';
import { offerSample } from './sample.js';
import { createSearch, type Searched } from './search.js';
import {
  captionsUrl,
  type OptionFields,
  readiness,
  requestCaption,
  requestScore,
  type ServedModel,
  servedModel,
  type ShownProblem,
} from './service.js';
import type { CaptionResult } from '../captioner/results.js';

interface Photo extends Searched {
  readonly name: string;
  readonly card: PhotoCard;
  /** Ends the request that is waiting or under way. */
  controller: AbortController;
  /** What the answer that is shown was asked with. */
  fields: OptionFields;
  /** The answer that is shown. */
  result: CaptionResult | undefined;
  problem: ShownProblem | undefined;
  /** A held photo goes when the options are right. */
  state: 'pending' | 'held' | 'done' | 'failed';
}

/** Enough to keep a small machine busy while photos travel, and far from filling anyone's queue. */
const upload = createLimit(4);
/** How soon a service that was not ready is asked again. */
const readinessPollMs = 5000;

const results = element(document, '#results', HTMLElement);
const list = element(document, '#photos', HTMLElement);
const count = element(document, '#results-count', HTMLElement);
const again = element(document, '#caption-again', HTMLButtonElement);
const picker = element(document, '#files', HTMLInputElement);
let photos: Photo[] = [];
let model: ServedModel | undefined;
const overview = createOverview(showCount);

const options = createOptions({
  onOptions() {
    again.classList.toggle('primary', photos.length > 0);
  },
  onValid() {
    for (const photo of photos) if (photo.state === 'held') void caption(photo);
  },
  onApiKey() {
    void describeService();
    for (const photo of photos) if (photo.state === 'failed') void caption(photo);
  },
});

takePhotos(addPhotos);

function addPhotos(files: readonly File[]): void {
  const added = files.map(addPhoto);
  photos = [...added, ...photos];
  list.prepend(...added.map(({ card }) => card.item));
  announce(added.length === 1 ? `${added[0]?.name ?? ''} added` : `${added.length} photos added`);
  for (const photo of added) void caption(photo);
  if (options.findProblem() !== undefined) options.showProblem();
}

again.addEventListener('click', () => {
  if (options.findProblem() !== undefined) {
    options.showProblem();
    return;
  }
  again.classList.remove('primary');
  for (const photo of photos) void caption(photo);
});
element(document, '#remove-all', HTMLButtonElement).addEventListener('click', () => {
  for (const { controller } of photos) controller.abort();
  photos = [];
  list.replaceChildren();
  showCount();
  announce('All photos removed');
  picker.focus();
});

offerSample(addPhotos);
createSearch({
  photos: () => photos,
  apiKey: () => options.apiKey(),
  inTurn: upload,
  onOrder(ordered) {
    const rest = photos.filter((photo) => ordered?.includes(photo) !== true);
    list.append(...[...(ordered ?? []), ...rest].map(({ card }) => card.item));
  },
  announce,
});
offerDownloads(() =>
  photos
    .filter(({ card, state }) => !card.item.hidden && (state === 'done' || state === 'failed'))
    .map(({ name: file, result, problem }) =>
      result ? { file, result } : { file, problem: problem?.detail },
    ),
);

function addPhoto(file: File): Photo {
  // What is pasted is always called image.png.
  const name = file.name || 'Pasted photo';
  const photo: Photo = {
    file,
    name,
    card: createPhotoCard(
      file,
      name,
      (action, button) => {
        act(photo, action, button);
      },
      (text) => upload(() => requestScore(file, text, options.apiKey())),
    ),
    controller: new AbortController(),
    fields: [],
    result: undefined,
    problem: undefined,
    embedding: undefined,
    state: 'pending',
  };
  return photo;
}

/** Captions a photo with the options of the moment its turn comes. */
async function caption(photo: Photo): Promise<void> {
  const { card, file, name } = photo;
  photo.controller.abort();
  const controller = new AbortController();
  photo.controller = controller;
  photo.state = 'pending';
  card.showProgress('Waiting');
  showCount();
  try {
    await upload(async () => {
      controller.signal.throwIfAborted();
      if (options.findProblem() !== undefined) {
        hold(photo);
        return;
      }
      card.showProgress('Captioning');
      const fields = options.fields();
      const answer = await requestCaption(file, fields, options.apiKey(), controller.signal);
      if ('problem' in answer) {
        const { problem } = answer;
        // A caption that is there is as good as before, whatever became of the next one.
        const keepsResult = photo.result !== undefined;
        Object.assign(photo, keepsResult ? { state: 'done' } : { problem, state: 'failed' });
        card.showProblem(problem, keepsResult);
        if (problem.code === 'invalid_option') options.showRefusal(problem.detail);
        announce(`${name}: ${problem.title}. ${problem.detail}`);
        return;
      }
      photo.fields = fields;
      show(photo, answer.result);
      const { percent, verdict } = readConfidence(answer.result.confidence);
      announce(`${name}: ${answer.result.caption ?? 'no caption'}. Confidence ${percent}, ${verdict}.`);
    });
  } catch (error) {
    // Another request has taken its place, or the photo is gone.
    if (!controller.signal.aborted) throw error;
    return;
  }
  showCount();
}

/** Nothing is sent that would be refused: a caption stays as it is, and a photo without one waits. */
function hold(photo: Photo): void {
  if (photo.result !== undefined) {
    show(photo, photo.result);
    again.classList.add('primary');
  } else {
    photo.state = 'held';
    photo.card.showProgress('An option has to be changed');
  }
}

function show(photo: Photo, result: CaptionResult): void {
  const asked = Number(photo.fields.find(([option]) => option === 'minConfidence')?.[1] ?? 0);
  Object.assign(photo, { result, problem: undefined, state: 'done' });
  photo.card.showResult(result, asked, model?.resize ?? 'stretch');
}

function act(photo: Photo, action: CardAction, button: HTMLButtonElement): void {
  switch (action) {
    case 'remove':
      remove(photo);
      break;
    case 'open':
    case 'close':
      open(photo, action === 'open');
      break;
    case 'retry':
      if (options.findProblem() !== undefined) {
        options.showProblem();
        return;
      }
      // The button goes with the problem it stands under; the card's other one stays.
      element(photo.card.item, '[data-action=remove]', HTMLButtonElement).focus();
      void caption(photo);
      break;
    case 'enter-key':
      options.askForKey();
      break;
    case 'copy-alt':
      void copyText(photo.result?.caption ?? '', button);
      break;
    case 'copy-curl':
      void copyText(curlCommand(captionsUrl, photo.name, photo.fields, options.apiKey() !== ''), button);
      break;
  }
}

/** A tile of the grid becomes a card where it is, and back. */
function open(photo: Photo, isOpen: boolean): void {
  const { item } = photo.card;
  item.classList.toggle('opened', isOpen);
  drawPhoto(photo);
  item.scrollIntoView({ block: isOpen ? 'start' : 'nearest' });
  const other = element(item, `[data-action=${isOpen ? 'close' : 'open'}]`, HTMLButtonElement);
  other.focus({ preventScroll: true });
}

function drawPhoto({ card }: Photo): void {
  card.draw(overview.isGrid() && !card.item.classList.contains('opened') ? 'tile' : 'card');
}

/** The focus goes to the neighbour, so that a keyboard does not start over. */
function remove(photo: Photo): void {
  const { item } = photo.card;
  const shown = [...list.children].filter((other) => other === item || !other.hasAttribute('hidden'));
  const place = shown.indexOf(item);
  const neighbour = shown[place + 1] ?? shown[place - 1];
  photo.controller.abort();
  photos = photos.filter((other) => other !== photo);
  item.remove();
  showCount();
  announce(`${photo.name} removed`);
  if (neighbour === undefined) picker.focus();
  else focusCard(neighbour);
}

/** Among tiles the neighbour can be opened, and elsewhere removed. */
function focusCard(item: Element): void {
  const isTile = overview.isGrid() && !item.classList.contains('opened');
  element(item, `[data-action=${isTile ? 'open' : 'remove'}]`, HTMLButtonElement).focus();
}

function showCount(): void {
  const pending = photos.filter(({ state }) => state === 'pending' || state === 'held').length;
  const failed = photos.filter(({ state }) => state === 'failed').length;
  const done = photos.length - pending - failed;
  const parts = [
    pending > 0 ? `${done} of ${photos.length} done` : `${done} done`,
    ...(failed > 0 ? [`${failed} failed`] : []),
  ];
  count.textContent = parts.join(', ');
  results.hidden = photos.length === 0;
  document.body.classList.toggle('with-photos', photos.length > 0);
  overview.update(
    photos.map(({ card, state, result }) => ({
      item: card.item,
      state: state === 'held' ? 'pending' : state,
      confidence: result?.confidence,
    })),
  );
  // How many there are decides how large each is shown.
  for (const photo of photos) drawPhoto(photo);
}

async function describeService(): Promise<void> {
  const status = element(document, '#service', HTMLElement);
  const text = element(status, '.service-text', HTMLElement);
  const state = await readiness();
  if (state?.ready === true) {
    model = await servedModel(options.apiKey());
    text.textContent = model === undefined ? 'Ready' : `${model.id} ${model.version}`;
    if (model?.maxLength !== undefined) options.limitLength(model.maxLength);
    status.title = 'The model that answers';
  } else {
    text.textContent = state === undefined ? 'The service does not answer' : 'Not ready';
    status.title = state?.reason ?? '';
    setTimeout(() => void describeService(), readinessPollMs);
  }
  status.dataset['ready'] = String(state?.ready === true);
  status.hidden = false;
}

void describeService();
