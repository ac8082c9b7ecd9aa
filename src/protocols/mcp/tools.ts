import { type CallToolResult, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';
import { type Static, Type } from 'typebox';
import type { Captioner, RequestContext } from '../../captioner/captioner.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { invalidOption, parseCaptionOptions, parseScoreOptions } from '../../captioner/options.js';
import type { ServiceError } from '../../errors.js';
import { packageVersion } from '../../version.js';

export interface ToolDeps {
  readonly captioner: Captioner;
  /** Runs a tool's work with a permit. */
  readonly withContext: <T>(work: (context: RequestContext) => Promise<T>) => Promise<T>;
  /** Logs what a tool threw, and gives what its client may know of it. */
  readonly problemOf: (error: unknown) => ServiceError;
  /** Absent where clients are not on this machine: only their user's files may be read by path. */
  readonly readFile?: (path: string) => Promise<Buffer>;
}

const imageMembers = {
  image: Type.Optional(Type.String({ description: 'The image file in base64, or as a data: URL.' })),
  url: Type.Optional(Type.String({ description: 'Address of the image, where the service fetches URLs.' })),
};
const pathMember = { path: Type.Optional(Type.String({ description: 'Path of the image file.' })) };
const genderNeutral = {
  genderNeutral: Type.Optional(
    Type.Boolean({ description: 'Write person and child where a gender would be named.' }),
  ),
};
const texts = {
  texts: Type.Array(Type.String(), {
    minItems: 1,
    maxItems: 64,
    description: 'Texts that may describe the image, in English.',
  }),
};
const maxTags = { maxTags: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })) };

const captionInput = Type.Object({ ...imageMembers, ...pathMember, ...genderNeutral });
const scoreInput = Type.Object({ ...imageMembers, ...pathMember, ...texts });
const tagInput = Type.Object({ ...imageMembers, ...pathMember, ...genderNeutral, ...maxTags });

/** Tools read, and what they say does not depend on anything outside. */
const annotations = { readOnlyHint: true, idempotentHint: true, openWorldHint: false };

/** A server with the tools, for one connection or one request. */
export function createMcpServer({ captioner, withContext, problemOf, readFile }: ToolDeps): McpServer {
  // The tools never change, so there is nothing to subscribe to.
  const capabilities = { tools: { listChanged: false } };
  const server = new McpServer({ name: 'pcm-caption', version: packageVersion() }, { capabilities });
  /** The schema of a tool's input; without `path` where no files are read. */
  const inputOf = <S extends Type.TObject>(schema: S) => {
    const properties = Object.fromEntries(
      Object.entries<Type.TSchema>(schema.properties).filter(
        ([name]) => name !== 'path' || readFile !== undefined,
      ),
    );
    const required = Object.keys(properties).filter((name) => !Type.IsOptional(properties[name]));
    return fromJsonSchema<Static<S>>({ type: 'object', properties, required });
  };

  async function sourceOf({ image, url, path }: ImageArguments): Promise<ImageSource> {
    const given = [image, url, path].filter((each) => each !== undefined);
    if (given.length !== 1) throw invalidOption(`Give one of image, url${readFile ? ' and path' : ''}.`);
    if (path !== undefined) {
      if (readFile === undefined) throw invalidOption('path: files are read by `pcm-caption mcp` only.');
      return { kind: 'bytes', bytes: await readFile(path) };
    }
    return url !== undefined ? { kind: 'url', url } : { kind: 'base64', text: image };
  }

  async function caption(
    input: ImageArguments,
    members: object,
  ): Promise<Awaited<ReturnType<Captioner['caption']>>> {
    const source = await sourceOf(input);
    return withContext((context) => {
      const { maxLength } = context.permit.model.bundle.decoding;
      const options = parseCaptionOptions({ texts: [], members: withoutAbsent(members) }, maxLength);
      return captioner.caption(source, options, context);
    });
  }

  /** What a tool answers, as data and as the text of it; a problem is an answer too, which the model reads. */
  async function answer(work: () => Promise<Record<string, unknown>>): Promise<CallToolResult> {
    try {
      const structuredContent = await work();
      return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
    } catch (error) {
      const { code, detail } = problemOf(error);
      return { isError: true, content: [{ type: 'text', text: `${code}: ${detail}` }] };
    }
  }

  server.registerTool(
    'caption_image',
    {
      title: 'Caption an image',
      description:
        'Writes one English sentence about an image, with the probability that it is as good as most human captions, and other candidates.',
      inputSchema: inputOf(captionInput),
      annotations,
    },
    (input) =>
      answer(async () => {
        const {
          captions,
          confidence,
          caption: text,
        } = await caption(input, { genderNeutral: input.genderNeutral });
        return {
          caption: text,
          confidence,
          candidates: captions.map(({ text: other, confidence: own }) => ({ text: other, confidence: own })),
        };
      }),
  );
  server.registerTool(
    'score_alt_text',
    {
      title: 'Check alt texts',
      description:
        'Tells of each text how probable it is that it belongs to the image and not to another one.',
      inputSchema: inputOf(scoreInput),
      annotations,
    },
    (input) =>
      answer(async () => {
        const source = await sourceOf(input);
        const { texts: checked } = parseScoreOptions({ texts: [], members: { texts: input.texts } });
        const { scores } = await withContext((context) => captioner.score(source, checked, context));
        return {
          scores: scores.map(({ text, matchProbability, cosine }) => ({ text, matchProbability, cosine })),
        };
      }),
  );
  server.registerTool(
    'tag_image',
    {
      title: 'Tag an image',
      description:
        'Lists words for what an image shows, each with the probability that people would name it.',
      inputSchema: inputOf(tagInput),
      annotations,
    },
    (input) =>
      answer(async () => {
        const { genderNeutral: neutral, maxTags: most } = input;
        const { tags } = await caption(input, { genderNeutral: neutral, maxTags: most });
        if (tags === undefined) throw invalidOption('The model that is served has no tags.');
        return { tags };
      }),
  );
  return server;
}

interface ImageArguments {
  readonly image?: string | undefined;
  readonly url?: string | undefined;
  readonly path?: string | undefined;
}

function withoutAbsent(members: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
