import { readFile } from 'node:fs/promises';
import { Agent, type OutgoingHttpHeaders, request } from 'node:http';
import { json } from 'node:stream/consumers';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';

const StageTiming = Type.Object({
  queueMs: Type.Number(),
  decodeMs: Type.Number(),
  encodeMs: Type.Number(),
  mixupMs: Type.Number(),
  captionMs: Type.Number(),
  scoreMs: Type.Number(),
});
export type RequestTiming = Static<typeof StageTiming>;

const problemOf = Compile(Type.Object({ code: Type.String() }));

/** Only what is measured, so that other versions of the service can be driven too. */
const answerOf = Compile(Type.Object({ timing: StageTiming }));

export interface Answer {
  readonly status: number;
  /** From before the request is written to after its answer is read. */
  readonly latencyMs: number;
  /** Of answers with status 200. */
  readonly timing?: RequestTiming;
  /** Of problems. */
  readonly code?: string;
}

export type CaptionClient = () => Promise<Answer>;

/**
 * A client that posts the next photo at each call, as the form field `image`, as `curl -F` does.
 * @param photos paths of JPEG files; read once, here
 */
export async function createCaptionClient(url: string, photos: readonly string[]): Promise<CaptionClient> {
  const boundary = 'pcm-caption-bench-7Bq2Vw';
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="image"; filename="photo.jpg"\r\ncontent-type: image/jpeg\r\n\r\n`;
  const bodies: Buffer[] = [];
  for (const photo of photos) {
    bodies.push(
      Buffer.concat([Buffer.from(head), await readFile(photo), Buffer.from(`\r\n--${boundary}--\r\n`)]),
    );
  }
  const ask = createClient(`${url}/v1/captions`, `multipart/form-data; boundary=${boundary}`, bodies);
  return async () => {
    const { status, latencyMs, body } = await ask();
    if (status !== 200) return { status, latencyMs, ...(problemOf.Check(body) && { code: body.code }) };
    if (!answerOf.Check(body)) throw new Error('an answer with status 200 has no timing');
    return { status, latencyMs, timing: body.timing };
  };
}

/**
 * A client that posts the next body at each call.
 * @param bodies sent in turn, over and over
 */
export function createClient(
  url: string,
  type: string,
  bodies: readonly Buffer[],
): () => Promise<Answer & { readonly body: unknown }> {
  // It shares the cores with what it measures, so it is plain: fetch takes several times as long.
  const agent = new Agent({ keepAlive: true });
  let next = 0;
  return async () => {
    const sent = bodies[next++ % bodies.length] ?? Buffer.alloc(0);
    const headers = { 'content-type': type, 'content-length': sent.length };
    const started = performance.now();
    const { status, answer } = await post(url, { agent, headers }, sent);
    return { status, latencyMs: performance.now() - started, body: answer };
  };
}

interface Reply {
  readonly status: number;
  readonly answer: unknown;
}

async function post(
  url: string,
  options: { readonly agent: Agent; readonly headers: OutgoingHttpHeaders },
  body: Buffer,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', ...options }, (response) => {
      json(response).then((answer) => {
        resolve({ status: response.statusCode ?? 0, answer });
      }, reject);
    });
    sent.on('error', (error: NodeJS.ErrnoException) => {
      // The service may close a connection that waits in the very moment in which it is used again.
      if (sent.reusedSocket && error.code === 'ECONNRESET') resolve(post(url, options, body));
      else reject(error);
    });
    sent.end(body);
  });
}
