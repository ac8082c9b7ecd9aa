import { element } from './elements.js';
import { percent } from './confidence.js';
import type { OptionFields } from './service.js';

export interface Options {
  /** Those that differ from the service's defaults. */
  fields(): OptionFields;
  apiKey(): string;
  /** Opens the panel at the key. */
  askForKey(): void;
}

/** A key lives as long as its tab. */
const keyName = 'pcm-caption-api-key';

export interface OptionsChanges {
  readonly onOptions: () => void;
  readonly onApiKey: () => void;
}

export function createOptions({ onOptions, onApiKey }: OptionsChanges): Options {
  const panel = element(document, '#options', HTMLDetailsElement);
  const summary = element(document, '#options-summary', HTMLElement);
  const form = element(document, '#options-form', HTMLFormElement);
  const concepts = element(form, '#concepts', HTMLTextAreaElement);
  const extend = element(form, '[name=mode][value=extend]', HTMLInputElement);
  const avoid = element(form, '#avoid', HTMLTextAreaElement);
  const neutral = element(form, '#gender-neutral', HTMLInputElement);
  const least = element(form, '#min-confidence', HTMLInputElement);
  const leastValue = element(form, '#min-confidence-value', HTMLOutputElement);
  const key = element(form, '#api-key', HTMLInputElement);

  function fields(): OptionFields {
    const words = wordsOf(concepts.value);
    return [
      ...words.map((word) => ['concepts', word] as const),
      ...(words.length > 0 && extend.checked ? [['conceptsMode', 'extend'] as const] : []),
      ...wordsOf(avoid.value).map((word) => ['avoidWords', word] as const),
      ...(neutral.checked ? [['genderNeutral', 'true'] as const] : []),
      ...(least.valueAsNumber > 0 ? [['minConfidence', String(least.valueAsNumber / 100)] as const] : []),
    ];
  }

  function describe(): void {
    leastValue.value = least.valueAsNumber > 0 ? percent(least.valueAsNumber / 100) : 'any';
    const chosen = [
      counted(wordsOf(concepts.value).length, 'own concept'),
      counted(wordsOf(avoid.value).length, 'avoided word'),
      neutral.checked ? 'gender-neutral' : '',
      least.valueAsNumber > 0 ? `at least ${leastValue.value}` : '',
    ].filter((part) => part !== '');
    summary.textContent =
      chosen.length > 0 ? chosen.join(', ') : 'Concepts, words to avoid, minimum confidence';
  }

  key.value = sessionStorage.getItem(keyName) ?? '';
  key.addEventListener('change', () => {
    sessionStorage.setItem(keyName, key.value.trim());
    onApiKey();
  });
  let known = JSON.stringify(fields());
  form.addEventListener('input', () => {
    describe();
    const now = JSON.stringify(fields());
    if (now !== known) onOptions();
    known = now;
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
  });
  describe();
  return {
    fields,
    apiKey: () => key.value.trim(),
    askForKey() {
      panel.open = true;
      key.focus();
    },
  };
}

function wordsOf(text: string): string[] {
  const words = text.split(/[,\n]/).map((word) => word.trim());
  return [...new Set(words)].filter((word) => word !== '');
}

function counted(count: number, thing: string): string {
  return count === 0 ? '' : `${count} ${thing}${count === 1 ? '' : 's'}`;
}
