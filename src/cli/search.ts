import type { Config } from '../config.js';
import { readManifest } from '../inference/bundle.js';
import { SearchIndex } from '../library/search-index.js';
import { printable } from './answer-writer.js';
import { exitCodes, UsageError } from './exit-codes.js';
import { indexPath } from './index-folder.js';
import { withLocalModel } from './local-model.js';
import { readInput } from './read-input.js';

export interface SearchCommandOptions {
  readonly text?: string | undefined;
  /** An image to search with. */
  readonly like?: string | undefined;
  readonly limit: string;
  readonly tag?: string | undefined;
  readonly index?: string | undefined;
  readonly json: boolean;
}

/** `search DIR TEXT`: returns the exit code. Throws UsageError, Interrupted, ServiceError, and what starting the model throws. */
export async function search(
  config: Config,
  folder: string,
  { text, like, limit: limitText, tag, index: path, json }: SearchCommandOptions,
): Promise<number> {
  if ((text === undefined) === (like === undefined)) {
    throw new UsageError('search takes either a text or --like with an image');
  }
  if (!/^[1-9]\d{0,4}$/.test(limitText))
    throw new UsageError('--limit must be a whole number from 1 to 99999');
  const { id, version, dimensions } = await readManifest(config.modelPath);
  const model = { id, version, dimensions: dimensions.embedding };
  const index = await SearchIndex.open(indexPath(folder, path), model);
  try {
    const vector = await withLocalModel(config, 1, (local, signal) =>
      local.run(async (captioner, context) => {
        if (like === undefined) return (await captioner.embedTexts([text ?? ''], context))[0];
        const bytes = await readInput(like, config.maxBodyBytes, signal);
        return captioner.embedImage({ kind: 'bytes', bytes }, context);
      }, signal),
    );
    if (vector === undefined) throw new Error('the model returned nothing');
    const hits = index.search(vector, { limit: Number(limitText), tag });
    if (hits.length === 0 && tag !== undefined) {
      process.stderr.write(`pcm-caption: no image of the index has the tag "${printable(tag)}"\n`);
    }
    for (const { similarity, ...hit } of hits) {
      const rounded = Number(similarity.toFixed(6));
      process.stdout.write(
        json
          ? `${JSON.stringify({ file: hit.name, similarity: rounded, caption: hit.caption, tags: hit.tags })}\n`
          : `${[rounded.toFixed(3), printable(hit.name), hit.caption ?? ''].join('\t').trimEnd()}\n`,
      );
    }
  } finally {
    index.close();
  }
  return exitCodes.ok;
}
