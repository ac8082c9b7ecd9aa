import { Readable } from 'node:stream';
import type * as S3 from '@aws-sdk/client-s3';
import { ServiceError } from '../errors.js';
import { readStream, tooLarge } from './files.js';
import type { ReadOptions, StoredObject } from './stored-object.js';

const scheme = 's3://';
/** Tries of one request, with waits of up to 20 s between them: what a server needs to start again. */
const maxAttempts = 6;
/** A server that says nothing for this long is asked again. */
const timeouts = { connectionTimeout: 5_000, socketTimeout: 30_000 };

let started: Promise<S3.S3Client> | undefined;

export function isS3Name(name: string): boolean {
  return name.startsWith(scheme);
}

export async function* listObjects(source: string, signal?: AbortSignal): AsyncGenerator<StoredObject, void> {
  const { Bucket, Key: Prefix } = parse(source);
  const { paginateListObjectsV2 } = await sdk();
  try {
    const pages = paginateListObjectsV2({ client: await client() }, { Bucket, Prefix }, sending(signal));
    for await (const { Contents = [] } of pages) {
      for (const { Key = '', Size: bytes = 0, LastModified } of Contents) {
        // A key that ends with a slash is a folder of S3's console.
        if (Key.endsWith('/') || /(^|\/)\./.test(Key)) continue;
        yield { name: `${scheme}${Bucket}/${Key}`, bytes, modifiedMs: LastModified?.getTime() ?? 0 };
      }
    }
  } catch (error) {
    throw s3Problem(error);
  }
}

export async function readObject(name: string, { maxBytes, signal }: ReadOptions): Promise<Buffer> {
  const { GetObjectCommand } = await sdk();
  try {
    const answer = await (await client()).send(new GetObjectCommand(parse(name)), sending(signal));
    if (!(answer.Body instanceof Readable)) throw new Error('the answer has no body');
    if ((answer.ContentLength ?? 0) > maxBytes) {
      answer.Body.destroy();
      throw tooLarge(maxBytes);
    }
    return await readStream(answer.Body, maxBytes);
  } catch (error) {
    throw s3Problem(error);
  }
}

export async function writeObject(name: string, content: string | Buffer): Promise<void> {
  const { PutObjectCommand } = await sdk();
  try {
    await (await client()).send(new PutObjectCommand({ ...parse(name), Body: content }));
  } catch (error) {
    throw s3Problem(error);
  }
}

/** Loaded when a name asks for it: most uses of the program never do. */
function sdk(): Promise<typeof S3> {
  // It would warn that its versions of 2027 need Node 22, where this one runs on Node 20, and is pinned for that.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
  return import('@aws-sdk/client-s3');
}

function client(): Promise<S3.S3Client> {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL } = process.env;
  started ??= sdk().then(
    ({ S3Client }) =>
      new S3Client({
        maxAttempts,
        requestHandler: timeouts,
        // Servers other than Amazon's seldom have a host name for each bucket, nor checksums of their own.
        forcePathStyle: (AWS_ENDPOINT_URL_S3 ?? AWS_ENDPOINT_URL) !== undefined,
        requestChecksumCalculation: 'WHEN_REQUIRED',
        responseChecksumValidation: 'WHEN_REQUIRED',
      }),
  );
  return started;
}

function sending(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}

function parse(name: string): { Bucket: string; Key: string } {
  const [Bucket = '', ...key] = name.slice(scheme.length).split('/');
  if (Bucket === '') throw new ServiceError('not_found', 'An address in S3 is s3://bucket/prefix.');
  return { Bucket, Key: key.join('/') };
}

/** What S3 says, as one of the service's problems. */
function s3Problem(error: unknown): unknown {
  if (error instanceof ServiceError || !(error instanceof Error) || error.name === 'AbortError') return error;
  const metadata = '$metadata' in error ? error.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
      ? metadata.httpStatusCode
      : undefined;
  if (status === 404) return new ServiceError('not_found', `S3 has no such object or bucket: ${error.name}.`);
  if (status === 401 || status === 403) {
    return new ServiceError('forbidden', `S3 does not allow it with these credentials: ${error.name}.`);
  }
  if (error.name === 'CredentialsProviderError') {
    return new ServiceError(
      'forbidden',
      'There are no credentials for S3: set AWS_ACCESS_KEY_ID and the like.',
    );
  }
  // Of a connection that failed at each address, the message is empty and the code says why.
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  const why = error.message === '' ? code : error.message.replace(/\.$/, '');
  return new ServiceError('storage_unavailable', `S3 does not answer as it should: ${why}.`);
}
