import { Type } from 'typebox';
import { CaptionOptionsSchema } from '../captioner/options.js';
import { CaptionResultSchema } from '../captioner/results.js';
import { captionExamples } from '../http/schemas/caption-request.js';
import { maxUrls } from './order.js';
import { jobStatuses } from './job.js';

const strict = { additionalProperties: false };

const name = (description: string) => Type.String({ minLength: 1, maxLength: 2048, description });

const SourceSchema = Type.Object(
  {
    urls: Type.Optional(
      Type.Array(Type.String(), {
        minItems: 1,
        maxItems: maxUrls,
        description:
          'Images by their address (`http:`, `https:`, `s3:`) or path in the folder of jobs; a name that ends with a slash stands for all images below it.',
      }),
    ),
    prefix: Type.Optional(name('`s3://bucket/prefix/`, or a folder in that of jobs: all images below it.')),
    manifest: Type.Optional(name('A text file with a name on each line, as in `urls`.')),
  },
  { ...strict, title: 'JobSource', description: 'Where the images are: one of these is given.' },
);

export const JobOrderSchema = Type.Object(
  {
    source: SourceSchema,
    options: Type.Optional(
      Type.Partial(CaptionOptionsSchema, { description: 'Options of a caption, for all images.' }),
    ),
    output: name(
      '`s3://bucket/prefix`, or a folder in that of jobs; results are written there as parts of NDJSON.',
    ),
    webhook: Type.Optional(
      Type.String({
        format: 'uri',
        description:
          'Called when the job has ended, signed as Standard Webhooks are (`webhook-id`, `webhook-timestamp`, `webhook-signature`).',
      }),
    ),
  },
  { ...strict, title: 'JobOrder' },
);

const ProblemSchema = Type.Object(
  { code: Type.String(), title: Type.String(), detail: Type.String() },
  { ...strict, title: 'JobProblem', description: 'What went wrong, with a stable code.' },
);

const count = (description: string) => Type.Integer({ minimum: 0, description });
const total = Type.Optional(count('Absent until all images are listed.'));

export const JobSchema = Type.Object(
  {
    id: Type.String(),
    status: Type.Enum([...jobStatuses], {
      type: 'string',
      description: 'The last three are for good; `failed` says in `problem` why.',
    }),
    output: Type.String({ description: 'Where `parts/*.ndjson` are written.' }),
    images: Type.Object(
      {
        total,
        captioned: count('Images with a caption.'),
        failed: count('Images whose result is a problem.'),
      },
      { ...strict, title: 'JobImages' },
    ),
    shards: Type.Object({ total, done: count('Parts that are written.') }, { ...strict, title: 'JobShards' }),
    createdAt: Type.String({ format: 'date-time' }),
    finishedAt: Type.Optional(Type.String({ format: 'date-time' })),
    problem: Type.Optional(ProblemSchema),
  },
  { ...strict, title: 'Job', description: 'A job and how far it is.' },
);

const index = count('Place of the image in the job, from 0.');
const source = Type.String({ description: 'Name of the image.' });

export const JobResultSchema = Type.Object(
  { index, source, result: Type.Optional(CaptionResultSchema), error: Type.Optional(ProblemSchema) },
  {
    ...strict,
    title: 'JobResult',
    description: 'Of an image: `result`, or the `error` that it has in place of one.',
  },
);

export const JobResultPageSchema = Type.Object(
  {
    results: Type.Array(JobResultSchema, { description: 'In the order of the images.' }),
    next: Type.Optional(
      count(
        '`start` of the next page; absent at the end. While the job runs, a page ends where results are not there yet.',
      ),
    ),
  },
  { ...strict, title: 'JobResultPage' },
);

export const JobPageQuery = Type.Object(
  {
    start: Type.Integer({ minimum: 0, default: 0, description: 'Index of the first image.' }),
    limit: Type.Integer({
      minimum: 1,
      maximum: 1000,
      default: 100,
      description: 'Results returned, at most.',
    }),
  },
  strict,
);

const exampleJob = {
  id: '0b0e7c3a-6d5f-4d3c-9a4e-2f6a1c1b8d11',
  status: 'running' as const,
  output: 's3://results/album',
  images: { total: 5000, captioned: 1187, failed: 13 },
  shards: { total: 50, done: 12 },
  createdAt: '2026-05-04T10:00:00.000Z',
};
const exampleFailure = {
  index: 1,
  source: 's3://album/2.jpg',
  error: { code: 'image_unreadable', title: 'The image cannot be read', detail: 'The image is cut short.' },
};
const exampleResult = { index: 0, source: 's3://album/1.jpg', result: captionExamples.photo.value };

export const jobExamples = {
  order: {
    bucket: {
      summary: 'A bucket, and a call when all is done',
      value: {
        source: { prefix: 's3://album/2024/' },
        options: { candidates: 1, minConfidence: 0.3 },
        output: 's3://results/album',
        webhook: 'https://example.org/hooks/captions',
      },
    },
    urls: {
      summary: 'Some images by their address',
      value: {
        source: { urls: ['https://example.org/a.jpg', 's3://album/b.jpg'] },
        output: 's3://results/two',
      },
    },
  },
  job: { running: { summary: 'A job that runs', value: exampleJob } },
  page: {
    page: { summary: 'The first two of many', value: { results: [exampleResult, exampleFailure], next: 2 } },
  },
  failures: { page: { summary: 'The only one', value: { results: [exampleFailure] } } },
  lines: { line: { summary: 'A line', value: exampleResult } },
  events: {
    progress: { summary: 'An event', value: `event: progress\ndata: ${JSON.stringify(exampleJob)}\n\n` },
  },
};
