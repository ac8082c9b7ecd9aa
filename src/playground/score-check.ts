import type { ScoreResult } from '../captioner/results.js';
import { percent } from './confidence.js';
import { element } from './elements.js';
import type { Answer } from './service.js';

/** Below it a text is more likely another image's. */
const fits = 0.5;

/** "Does this alt text fit?": a text of the user's, and how likely it belongs to the photo. */
export function createScoreCheck(
  form: HTMLFormElement,
  name: string,
  score: (text: string) => Promise<Answer<ScoreResult>>,
): void {
  const text = element(form, 'input', HTMLInputElement);
  const verdict = element(form, 'output', HTMLOutputElement);
  text.setAttribute('aria-label', `Alt text of yours, ${name}`);

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const asked = text.value.trim();
    if (asked === '') {
      text.focus();
      return;
    }
    verdict.value = 'Checking…';
    void score(asked).then((answer) => {
      // A text that was changed meanwhile has no verdict yet.
      if (text.value.trim() === asked) verdict.value = describe(answer);
    });
  });
  text.addEventListener('input', () => {
    verdict.value = '';
  });
}

function describe(answer: Answer<ScoreResult>): string {
  if ('problem' in answer) return `${answer.problem.title}. ${answer.problem.detail}`;
  const [found] = answer.result.scores;
  if (found === undefined) return '';
  const { matchProbability, clipScore } = found;
  // Models without a calibration have the score alone.
  if (matchProbability === null) return `CLIPScore ${clipScore.toFixed(2)}`;
  return `${percent(matchProbability)}: ${matchProbability >= fits ? 'it fits this photo' : 'it does not fit this photo'}`;
}
