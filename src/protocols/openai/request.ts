import type { ImageSource } from '../../captioner/image-source.js';
import { invalidOption } from '../../captioner/options.js';
import type { Description } from '../describe.js';
import { imageNeeded } from '../describe.js';
import { imagesOfTexts } from '../images.js';
import { isObject, type JsonObject, listOf } from '../permissive.js';
import { describeAsJson, fillSchema } from '../structured-output.js';

/**
 * The images of the last message that has some: clients send a conversation whole each time.
 *
 * @param messages of chat completions, or the `input` of a response
 */
export function imagesOfMessages(messages: unknown): ImageSource[] {
  const ofMessages = listOf(messages).map((message) => (isObject(message) ? textsOfImages(message) : []));
  return imagesOfTexts(ofMessages.findLast((images) => images.length > 0) ?? []);
}

function textsOfImages(message: JsonObject): unknown[] {
  // SillyTavern's "ooba" mode has `image_url` on the message itself.
  return [message, ...listOf(message['content'])].flatMap((part) => {
    if (!isObject(part)) return [];
    const { image_url: image, file_id: file } = part;
    const url = (isObject(image) ? image['url'] : image) ?? undefined;
    if (part['type'] === 'input_image' && url === undefined && typeof file === 'string') {
      throw invalidOption('file_id is not known here: send the image itself, as image_url.');
    }
    return url === undefined ? [] : [url];
  });
}

/** The answer's text, in the form that the client asks for. Throws ServiceError invalid_option. */
export function textOf(format: unknown, said: Description | undefined): string {
  if (said === undefined) return imageNeeded;
  if (!isObject(format)) return said.caption ?? '';
  const { type } = format;
  if (type === 'json_object') return describeAsJson(said);
  if (type !== 'json_schema') return said.caption ?? '';
  // Chat completions have the schema one level deeper than responses.
  const { json_schema: wrapper } = format;
  return fillSchema(isObject(wrapper) ? wrapper['schema'] : format['schema'], said);
}

/** Counts of tokens: patches of the images, and words with the end of the sentence. */
export function usageOf(
  said: Description | undefined,
  patches: number,
  text: string,
): { input: number; output: number } {
  return {
    input: (said?.results.length ?? 0) * patches,
    output: text === '' ? 1 : text.split(/\s+/).length + 1,
  };
}

/** Refuses what asks for more than a description. Throws ServiceError invalid_option. */
export function refuseToolCalls(toolChoice: unknown): void {
  if (toolChoice === 'required' || isObject(toolChoice)) {
    throw invalidOption('tool_choice requires a tool call, and this model calls no tools.');
  }
}
