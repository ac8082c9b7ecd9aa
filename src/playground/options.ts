import { element } from './elements.js';
import { percent } from './confidence.js';
import type { OptionFields } from './service.js';

export interface Options {
  /** Those that differ from the service's defaults. */
  fields(): OptionFields;
  /** What the service would refuse, if anything; the page says so at the option. */
  findProblem(): string | undefined;
  apiKey(): string;
  /** Opens the panel at the option that the service would refuse. */
  showProblem(): void;
  /** Opens the panel with what the service said of an option. */
  showRefusal(detail: string): void;
  /** Opens the panel at the key. */
  askForKey(): void;
  /** @param words the longest caption of the model */
  limitLength(words: number): void;
}

/** A key lives as long as its tab. */
const keyName = 'pcm-caption-api-key';
/** As the service takes them: `CaptionOptionsSchema`. */
const maxConcepts = 100;
const maxAvoided = 50;
const maxLetters = 40;
const singleWord = /^[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*$/;
const defaultCandidates = 3;

export interface OptionsChanges {
  readonly onOptions: () => void;
  /** Called when an option is no longer being typed, and the service would take them all. */
  readonly onValid: () => void;
  readonly onApiKey: () => void;
}

export function createOptions({ onOptions, onValid, onApiKey }: OptionsChanges): Options {
  const panel = element(document, '#options', HTMLDetailsElement);
  const summary = element(document, '#options-summary', HTMLElement);
  const form = element(document, '#options-form', HTMLFormElement);
  const concepts = element(form, '#concepts', HTMLTextAreaElement);
  const extend = element(form, '[name=mode][value=extend]', HTMLInputElement);
  const avoid = element(form, '#avoid', HTMLTextAreaElement);
  const neutral = element(form, '#gender-neutral', HTMLInputElement);
  const least = element(form, '#min-confidence', HTMLInputElement);
  const leastValue = element(form, '#min-confidence-value', HTMLOutputElement);
  const candidates = element(form, '#candidates', HTMLInputElement);
  const beams = element(form, '#beam-size', HTMLInputElement);
  const length = element(form, '#max-length', HTMLInputElement);
  const key = element(form, '#api-key', HTMLInputElement);
  /** Fields in the order of the page, with what is wrong with each. */
  const checks = new Map<HTMLInputElement | HTMLTextAreaElement, () => string>([
    [concepts, () => listProblem(wordsOf(concepts.value), 'concepts', maxConcepts)],
    [avoid, () => avoidProblem(wordsOf(avoid.value))],
    [candidates, () => numberProblem(candidates)],
    [beams, () => numberProblem(beams) || beamProblem()],
    [length, () => numberProblem(length)],
  ]);

  function beamProblem(): string {
    const wanted = candidates.value === '' ? defaultCandidates : candidates.valueAsNumber;
    return beams.value !== '' && beams.valueAsNumber < wanted
      ? `At least as many as there are captions: ${wanted}.`
      : '';
  }

  function fields(): OptionFields {
    const words = wordsOf(concepts.value);
    return [
      ...words.map((word) => ['concepts', word] as const),
      ...(words.length > 0 && extend.checked ? [['conceptsMode', 'extend'] as const] : []),
      ...wordsOf(avoid.value).map((word) => ['avoidWords', word] as const),
      ...(neutral.checked ? [['genderNeutral', 'true'] as const] : []),
      ...(least.valueAsNumber > 0 ? [['minConfidence', String(least.valueAsNumber / 100)] as const] : []),
      ...(
        [
          ['candidates', candidates],
          ['beamSize', beams],
          ['maxLength', length],
        ] as const
      ).flatMap(([name, { value }]) => (value === '' ? [] : [[name, value] as const])),
    ];
  }

  function describe(): void {
    leastValue.value = least.valueAsNumber > 0 ? percent(least.valueAsNumber / 100) : 'any';
    for (const [field, check] of checks) {
      const problem = check();
      field.setAttribute('aria-invalid', String(problem !== ''));
      element(form, `#${field.id}-problem`, HTMLElement).textContent = problem;
    }
    const chosen = [
      counted(wordsOf(concepts.value).length, 'own concept'),
      counted(wordsOf(avoid.value).length, 'avoided word'),
      neutral.checked ? 'gender-neutral' : '',
      least.valueAsNumber > 0 ? `at least ${leastValue.value}` : '',
      candidates.value === '' ? '' : counted(candidates.valueAsNumber, 'caption'),
      beams.value === '' ? '' : counted(beams.valueAsNumber, 'beam'),
      length.value === '' ? '' : `at most ${counted(length.valueAsNumber, 'word')}`,
    ].filter((part) => part !== '');
    summary.textContent =
      chosen.length > 0 ? chosen.join(', ') : 'Concepts, words to avoid, confidence, length';
  }

  const refusal = element(form, '#options-refused', HTMLElement);

  function firstWrong(): HTMLElement | undefined {
    return [...checks].find(([, check]) => check() !== '')?.[0];
  }

  key.value = sessionStorage.getItem(keyName) ?? '';
  key.addEventListener('change', () => {
    sessionStorage.setItem(keyName, key.value.trim());
    onApiKey();
  });
  let known = JSON.stringify(fields());
  form.addEventListener('input', () => {
    refusal.textContent = '';
    describe();
    const now = JSON.stringify(fields());
    if (now !== known) onOptions();
    known = now;
  });
  form.addEventListener('change', () => {
    if (firstWrong() === undefined) onValid();
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
  });
  describe();
  return {
    fields,
    findProblem: () => [...checks.values()].map((check) => check()).find((problem) => problem !== ''),
    apiKey: () => key.value.trim(),
    showProblem() {
      panel.open = true;
      firstWrong()?.focus();
    },
    showRefusal(detail) {
      panel.open = true;
      refusal.textContent = detail;
    },
    askForKey() {
      panel.open = true;
      key.focus();
    },
    limitLength(words) {
      length.max = String(words);
      describe();
    },
  };
}

function wordsOf(text: string): string[] {
  const words = text.split(/[,\n]/).map((word) => word.trim());
  return [...new Set(words)].filter((word) => word !== '');
}

function listProblem(words: readonly string[], things: string, most: number): string {
  if (words.length > most) return `At most ${most} ${things}; these are ${words.length}.`;
  const long = words.find((word) => word.length > maxLetters);
  return long === undefined ? '' : `At most ${maxLetters} letters each; one begins “${long.slice(0, 20)}…”.`;
}

function avoidProblem(words: readonly string[]): string {
  const wrong = words.find((word) => !singleWord.test(word));
  const why = 'is not a single word of English letters and digits.';
  return wrong === undefined ? listProblem(words, 'words', maxAvoided) : `“${wrong.slice(0, 40)}” ${why}`;
}

function numberProblem({ validity, min, max }: HTMLInputElement): string {
  return validity.valid ? '' : `A whole number from ${min} to ${max}.`;
}

function counted(count: number, thing: string): string {
  return count === 0 ? '' : `${count} ${thing}${count === 1 ? '' : 's'}`;
}
