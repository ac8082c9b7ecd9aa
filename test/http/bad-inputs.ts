import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { type ErrorCode, errorCodes } from '../../src/errors.js';
import { statusOf } from '../../src/http/problem-details.js';
import { heic, noise, pdf, pngClaiming, quarters, svg } from '../images/drawn.js';
import { formOf, json } from './service.js';

/** The settings under which the table below holds. */
export const badInputEnvironment = { MAX_BODY_BYTES: String(1024 * 1024), MAX_PIXELS: '1000000' };

interface BadInput {
  readonly name: string;
  /** Made anew for each use, since bodies can be read once. */
  readonly request: () => Promise<RequestInit & { query?: string }> | (RequestInit & { query?: string });
  readonly code: ErrorCode;
  readonly detail?: RegExp;
}

const goodPhoto = () => quarters(640, 480).jpeg().toBuffer();

const photo = await goodPhoto();
const multipart = (body: string, boundary = 'line') => ({
  headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  body,
});
const jsonBody = (value: unknown) => ({
  headers: { 'content-type': 'application/json' },
  body: typeof value === 'string' ? value : JSON.stringify(value),
});
const raw = (type: string, body: Buffer | string) => ({ headers: { 'content-type': type }, body });
const file = (bytes: Buffer, name = 'photo.jpg') => ({ body: formOf(['image', bytes, name]) });
const withOptions = (...options: [string, string][]) => ({ body: formOf(...options, ['image', photo]) });

/** Incompressible, so that its bytes are as many as its pixels suggest. */
const large = await noise(700, 700).png().toBuffer();
const wide = sharp({ create: { width: 1001, height: 1000, channels: 3, background: '#778899' } });

function streamOf(bytes: Buffer): RequestInit['body'] & object {
  let sent = 0;
  return new ReadableStream({
    pull(controller) {
      if (sent >= bytes.length) {
        controller.close();
        return;
      }
      controller.enqueue(bytes.subarray(sent, (sent += 65_536)));
    },
  });
}

/** Each is answered with its problem, and the next good photo is captioned. */
export const badInputs: readonly BadInput[] = [
  {
    name: 'a form without a file',
    request: () => ({ body: formOf(['candidates', '3']) }),
    code: 'missing_image',
  },
  {
    name: 'a form with its file in another field',
    request: () => ({ body: formOf(['photo', photo]) }),
    code: 'missing_image',
  },
  { name: 'JSON without an image', request: () => jsonBody({}), code: 'missing_image' },
  { name: 'no body at all', request: () => ({}), code: 'missing_image' },
  {
    name: 'two files',
    request: () => ({ body: formOf(['image', photo], ['image', photo]) }),
    code: 'too_many_images',
  },
  { name: 'an empty file', request: () => file(Buffer.alloc(0)), code: 'empty_image' },
  { name: 'an empty body of an image type', request: () => raw('image/jpeg', ''), code: 'empty_image' },
  {
    name: 'an empty body of no particular type',
    request: () => raw('application/octet-stream', ''),
    code: 'empty_image',
  },
  {
    name: 'text in a body of no particular type',
    request: () => raw('application/octet-stream', 'Dear diary'),
    code: 'unsupported_image_format',
  },
  { name: 'an empty image in JSON', request: () => jsonBody({ image: '' }), code: 'empty_image' },
  {
    name: 'text renamed .jpg',
    request: () => file(Buffer.from('Dear diary,\n'), 'photo.jpg'),
    code: 'unsupported_image_format',
  },
  {
    name: 'a truncated JPEG',
    request: () => file(photo.subarray(0, photo.length / 2)),
    code: 'image_unreadable',
  },
  {
    name: 'a truncated PNG',
    request: async () => {
      const png = await noise().png().toBuffer();
      return raw('image/png', png.subarray(0, png.length / 2));
    },
    code: 'image_unreadable',
  },
  {
    name: 'SVG',
    request: () => raw('image/svg+xml', svg),
    code: 'unsupported_image_format',
    detail: /\bSVG\b/,
  },
  { name: 'PDF', request: () => file(pdf, 'scan.pdf'), code: 'unsupported_image_format', detail: /\bPDF\b/ },
  {
    name: 'a HEIC file without its picture',
    request: () => raw('image/heic', heic),
    code: 'image_unreadable',
  },
  {
    name: 'a header that claims 60,000 × 60,000',
    request: async () => file(await pngClaiming(60_000, 60_000)),
    code: 'image_too_many_pixels',
  },
  {
    name: 'an image in a content encoding',
    request: () => ({
      headers: { 'content-type': 'image/jpeg', 'content-encoding': 'gzip' },
      body: gzipSync(photo),
    }),
    code: 'unsupported_media_type',
    detail: /Content-Encoding/,
  },
  { name: 'over the byte limit as a body', request: () => raw('image/png', large), code: 'body_too_large' },
  {
    name: 'over the byte limit in chunks of unknown number',
    request: () => ({ headers: { 'content-type': 'image/png' }, body: streamOf(large), duplex: 'half' }),
    code: 'body_too_large',
  },
  { name: 'over the byte limit in a form', request: () => file(large), code: 'body_too_large' },
  {
    name: 'over the byte limit in JSON',
    request: () => jsonBody({ image: large.toString('base64') }),
    code: 'body_too_large',
  },
  {
    name: 'over the pixel limit',
    request: async () => file(await wide.clone().png().toBuffer()),
    code: 'image_too_many_pixels',
    detail: /1001 × 1000/,
  },
  {
    name: 'a content type that is none of an image',
    request: () => raw('text/plain', photo),
    code: 'unsupported_media_type',
  },
  {
    name: 'the content type of web forms without files',
    request: () => raw('application/x-www-form-urlencoded', 'image=photo.jpg'),
    code: 'unsupported_media_type',
  },
  { name: 'bytes of no declared type', request: () => raw('', photo), code: 'unsupported_media_type' },
  {
    name: 'a form that ends within a part',
    request: () =>
      multipart('--line\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\nabc'),
    code: 'malformed_multipart',
  },
  {
    name: 'a form whose boundary is another',
    request: () => multipart('--other\r\n\r\nabc\r\n--other--'),
    code: 'malformed_multipart',
  },
  {
    name: 'a form that names no boundary',
    request: () => raw('multipart/form-data', '--line\r\n\r\nabc\r\n--line--'),
    code: 'malformed_multipart',
  },
  { name: 'malformed JSON', request: () => jsonBody('{"image": "abc"'), code: 'malformed_json' },
  { name: 'an empty body of JSON’s type', request: () => jsonBody(''), code: 'malformed_json' },
  { name: 'JSON that is no object', request: () => jsonBody(['image']), code: 'malformed_json' },
  { name: 'bad base64', request: () => jsonBody({ image: 'not*base64!' }), code: 'invalid_base64' },
  {
    name: 'a data: URL that is not in base64',
    request: () => jsonBody({ image: 'data:image/png,%89PNG' }),
    code: 'invalid_base64',
  },
  {
    name: 'a data: prefix with nothing after it',
    request: () => jsonBody({ image: 'data:image/png;base64,' }),
    code: 'empty_image',
  },
  {
    name: 'base64 of impossible length',
    request: () => jsonBody({ image: 'AAAAA' }),
    code: 'invalid_base64',
  },
  { name: 'an image that is no text', request: () => jsonBody({ image: 7 }), code: 'invalid_base64' },
  {
    name: 'an unknown option in a form',
    request: () => withOptions(['colour', 'red']),
    code: 'invalid_option',
    detail: /"colour"/,
  },
  {
    name: 'an unknown option in JSON',
    request: () => jsonBody({ image: photo.toString('base64'), beams: 3 }),
    code: 'invalid_option',
    detail: /"beams"/,
  },
  {
    name: 'an unknown option in the query',
    request: () => ({ ...raw('image/jpeg', photo), query: '?beam=3' }),
    code: 'invalid_option',
    detail: /"beam"/,
  },
  {
    name: 'an option out of range',
    request: () => withOptions(['candidates', '11']),
    code: 'invalid_option',
    detail: /1 to 10/,
  },
  {
    name: 'a whole number that is none',
    request: () => withOptions(['candidates', '2.5']),
    code: 'invalid_option',
  },
  {
    name: 'an option of the wrong type',
    request: () => withOptions(['explain', 'yes']),
    code: 'invalid_option',
    detail: /true or false/,
  },
  {
    name: 'an option as text in JSON',
    request: () => jsonBody({ image: photo.toString('base64'), candidates: '3' }),
    code: 'invalid_option',
  },
  {
    name: 'fewer beams than candidates',
    request: () => withOptions(['candidates', '5'], ['beamSize', '4']),
    code: 'invalid_option',
  },
  {
    name: 'longer captions than the model’s',
    request: () => withOptions(['maxLength', '99']),
    code: 'invalid_option',
  },
  {
    name: 'two values for one option',
    request: () => withOptions(['candidates', '2'], ['candidates', '3']),
    code: 'invalid_option',
  },
  {
    name: 'two values for one option in query and form',
    request: () => ({ ...withOptions(['candidates', '2']), query: '?candidates=3' }),
    code: 'invalid_option',
  },
  {
    name: 'too many concept words',
    request: () =>
      withOptions(
        ...Array.from({ length: 101 }, (_, index): [string, string] => ['concepts', `word${index}`]),
      ),
    code: 'invalid_option',
    detail: /at most 100/,
  },
  {
    name: 'a word to avoid that is two',
    request: () => withOptions(['avoidWords', 'red dog']),
    code: 'invalid_option',
  },
  {
    name: 'an image by URL',
    request: () => jsonBody({ url: 'http://127.0.0.1/a.jpg' }),
    code: 'url_not_allowed',
  },
];

/** Sends one of the table to a running service and checks the whole problem. */
export async function assertRefused(serviceUrl: string, { request, code, detail }: BadInput): Promise<void> {
  const { query = '', ...init } = await request();
  const response = await fetch(`${serviceUrl}/v1/captions${query}`, { method: 'POST', ...init });
  const problem = await json(response);
  const { title } = errorCodes[code];
  const status = statusOf[code];
  assert.equal(problem['code'], code, JSON.stringify(problem));
  assert.equal(response.status, status);
  assert.equal(response.headers.get('content-type')?.split(';')[0], 'application/problem+json');
  assert.deepEqual(
    { ...problem, detail: typeof problem['detail'] },
    {
      type: `urn:problem-type:${code}`,
      title,
      status,
      detail: 'string',
      code,
      requestId: response.headers.get('x-request-id'),
    },
  );
  assert.match(String(problem['detail']), detail ?? /./);
  assert.doesNotMatch(JSON.stringify(problem), /vips|heif|libpng|FST_|busboy|node:|\/src\/|\.js|\\n +at /i);
}

/** A good photo is captioned, also after everything above. */
export async function assertCaptioned(serviceUrl: string, image: Buffer = photo): Promise<void> {
  const response = await fetch(`${serviceUrl}/v1/captions`, {
    method: 'POST',
    body: formOf(['image', image]),
  });
  const result = await json(response);
  assert.equal(response.status, 200, JSON.stringify(result));
  assert.match(String(result['caption']), /^[A-Z]/);
}

/** The smallest image there is. */
export const onePixel = () =>
  sharp({ create: { width: 1, height: 1, channels: 3, background: '#336699' } })
    .png()
    .toBuffer();
