import { announce } from './announce.js';
import { readConfidence } from './confidence.js';
import { copyText } from './copy.js';
import { curlCommand } from './curl.js';
import { element } from './elements.js';
import { takePhotos } from './intake.js';
import { createLimit } from './limit.js';
import { createOptions } from './options.js';
import { type CardAction, createPhotoCard, type PhotoCard } from './photo-card.js';
import {
  captionsUrl,
  type OptionFields,
  readiness,
  requestCaption,
  type ServedModel,
  servedModel,
} from './service.js';

interface Photo {
  readonly file: File;
  readonly name: string;
  readonly card: PhotoCard;
  /** Ends the request that is waiting or under way. */
  controller: AbortController;
  /** What the answer that is shown was asked with. */
  fields: OptionFields;
  caption: string | null;
  state: 'pending' | 'done' | 'failed';
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

const options = createOptions({
  onOptions() {
    again.classList.toggle('primary', photos.length > 0);
  },
  onApiKey() {
    void describeService();
    for (const photo of photos) if (photo.state === 'failed') void caption(photo);
  },
});

takePhotos((files) => {
  const added = files.map(addPhoto);
  photos = [...added, ...photos];
  list.prepend(...added.map(({ card }) => card.item));
  announce(added.length === 1 ? `${added[0]?.name ?? ''} added` : `${added.length} photos added`);
  for (const photo of added) void caption(photo);
});

again.addEventListener('click', () => {
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

function addPhoto(file: File): Photo {
  // What is pasted is always called image.png.
  const name = file.name || 'Pasted photo';
  const photo: Photo = {
    file,
    name,
    card: createPhotoCard(file, name, (action, button) => {
      act(photo, action, button);
    }),
    controller: new AbortController(),
    fields: [],
    caption: null,
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
      card.showProgress('Captioning');
      const fields = options.fields();
      const answer = await requestCaption(file, fields, options.apiKey(), controller.signal);
      if ('problem' in answer) {
        const { problem, retryAfterSeconds } = answer;
        photo.state = 'failed';
        card.showProblem(problem, retryAfterSeconds);
        announce(`${name}: ${problem.title}. ${problem.detail}`);
        return;
      }
      const { result } = answer;
      const asked = Number(fields.find(([option]) => option === 'minConfidence')?.[1] ?? 0);
      Object.assign(photo, { fields, caption: result.caption, state: 'done' });
      card.showResult(result, asked, model?.resize ?? 'stretch');
      const { percent, verdict } = readConfidence(result.confidence);
      announce(`${name}: ${result.caption ?? 'no caption'}. Confidence ${percent}, ${verdict}.`);
    });
  } catch (error) {
    // Another request has taken its place, or the photo is gone.
    if (!controller.signal.aborted) throw error;
    return;
  }
  showCount();
}

function act(photo: Photo, action: CardAction, button: HTMLButtonElement): void {
  switch (action) {
    case 'remove':
      remove(photo);
      break;
    case 'retry':
      // The button goes with the problem it stands under; the card's other one stays.
      element(photo.card.item, '[data-action=remove]', HTMLButtonElement).focus();
      void caption(photo);
      break;
    case 'enter-key':
      options.askForKey();
      break;
    case 'copy-alt':
      void copyText(photo.caption ?? '', button);
      break;
    case 'copy-curl':
      void copyText(curlCommand(captionsUrl, photo.name, photo.fields, options.apiKey() !== ''), button);
      break;
  }
}

/** The focus goes to the neighbour, so that a keyboard does not start over. */
function remove(photo: Photo): void {
  const { item } = photo.card;
  const neighbour = item.nextElementSibling ?? item.previousElementSibling;
  photo.controller.abort();
  photos = photos.filter((other) => other !== photo);
  item.remove();
  showCount();
  announce(`${photo.name} removed`);
  if (neighbour === null) picker.focus();
  else element(neighbour, '[data-action=remove]', HTMLButtonElement).focus();
}

function showCount(): void {
  const pending = photos.filter(({ state }) => state === 'pending').length;
  const failed = photos.filter(({ state }) => state === 'failed').length;
  const done = photos.length - pending - failed;
  const parts = [
    pending > 0 ? `${done} of ${photos.length} done` : `${done} done`,
    ...(failed > 0 ? [`${failed} failed`] : []),
  ];
  count.textContent = parts.join(', ');
  results.hidden = photos.length === 0;
  document.body.classList.toggle('with-photos', photos.length > 0);
}

async function describeService(): Promise<void> {
  const status = element(document, '#service', HTMLElement);
  const text = element(status, '.service-text', HTMLElement);
  const state = await readiness();
  if (state?.ready === true) {
    model = await servedModel(options.apiKey());
    text.textContent = model === undefined ? 'Ready' : `${model.id} ${model.version}`;
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
