import { ConfigError } from '../config.js';
import type { Protocol } from '../http/protocol.js';
import { a1111 } from './a1111/a1111.js';
import { azure } from './azure/azure.js';
import { huggingFace } from './hugging-face/hugging-face.js';
import { imgAltApi } from './img-alt-api/img-alt-api.js';
import { kserve } from './kserve/kserve.js';
import { max } from './max/max.js';
import { mcp } from './mcp/mcp.js';
import { ollama } from './ollama/ollama.js';
import { openai } from './openai/openai.js';
import { photoprism } from './photoprism/photoprism.js';

/** Every protocol of other products; a new one is a folder and a line here. */
export const protocols: readonly Protocol[] = [
  ollama,
  openai,
  photoprism,
  azure,
  mcp,
  a1111,
  imgAltApi,
  huggingFace,
  max,
  kserve,
];

/** The protocols of the setting `PROTOCOLS`. Throws ConfigError. */
export function chooseProtocols(names: readonly string[]): readonly Protocol[] {
  if (names.length === 1 && names[0] === 'all') return protocols;
  if (names.length === 1 && names[0] === 'none') return [];
  const known = protocols.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new ConfigError(`PROTOCOLS must be all, none, or some of ${known.join(',')}, not "${unknown}"`);
  }
  return protocols.filter(({ name }) => names.includes(name));
}
