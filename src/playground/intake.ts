import { element } from './elements.js';

/** Photos come by the file picker, by a drop anywhere on the page, and by paste. */
export function takePhotos(onFiles: (files: readonly File[]) => void): void {
  const input = element(document, '#files', HTMLInputElement);
  const curtain = element(document, '#drop-curtain', HTMLElement);

  input.addEventListener('change', () => {
    take(input.files);
    // So that the same file can be chosen again.
    input.value = '';
  });

  document.addEventListener('paste', (event) => {
    // Text that is pasted into a field is none of ours.
    if (take(event.clipboardData?.files)) event.preventDefault();
  });

  // Entering a child leaves its parent, so the depth is counted.
  let depth = 0;
  const withFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') === true;
  const settle = (to: number): void => {
    depth = Math.max(0, to);
    curtain.hidden = depth === 0;
  };
  document.addEventListener('dragenter', (event) => {
    if (withFiles(event)) settle(depth + 1);
  });
  document.addEventListener('dragleave', (event) => {
    if (withFiles(event)) settle(depth - 1);
  });
  document.addEventListener('dragover', (event) => {
    if (withFiles(event)) event.preventDefault();
  });
  document.addEventListener('drop', (event) => {
    if (!withFiles(event)) return;
    event.preventDefault();
    settle(0);
    take(event.dataTransfer?.files);
  });

  function take(files: FileList | null | undefined): boolean {
    const taken = [...(files ?? [])];
    if (taken.length > 0) onFiles(taken);
    return taken.length > 0;
  }
}
