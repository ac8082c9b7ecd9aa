import { announce } from './announce.js';
import { element } from './elements.js';

/** How long a button says that it has copied. */
const thanksMs = 2000;

/** Puts a text on the clipboard; where the browser forbids it, shows the text selected. */
export async function copyText(text: string, button: HTMLButtonElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain HTTP from another machine there is no clipboard at all.
    const dialog = element(document, '#copy-dialog', HTMLDialogElement);
    const field = element(dialog, '#copy-dialog-text', HTMLTextAreaElement);
    field.value = text;
    dialog.showModal();
    field.select();
    return;
  }
  const label = (button.dataset['label'] ??= button.textContent);
  button.textContent = 'Copied';
  // The button keeps its own name, so a screen reader would hear nothing of it.
  announce('Copied');
  setTimeout(() => {
    button.textContent = label;
  }, thanksMs);
}
