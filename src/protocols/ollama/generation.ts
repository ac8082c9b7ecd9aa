import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import type { Description } from '../describe.js';

/** The last members of an answer: that it is done, and its times in nanoseconds. */
export function generation(said: Description | undefined, startedAt: number): object {
  const nanoseconds = (ms: number) => Math.round(ms * 1e6);
  const stages = (said?.results ?? []).map(({ timing }) => timing);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    done: true,
    done_reason: 'stop',
    total_duration: nanoseconds(performance.now() - startedAt),
    load_duration: 0,
    prompt_eval_count: stages.length,
    prompt_eval_duration: nanoseconds(sum(stages.map(({ encodeMs, mixupMs }) => encodeMs + mixupMs))),
    eval_count: said?.caption?.split(' ').length ?? 0,
    eval_duration: nanoseconds(sum(stages.map(({ captionMs, scoreMs }) => captionMs + scoreMs))),
  };
}

/** Sends objects as lines of JSON, each a chunk of its own: ollama-js wants a last one that is done. */
export function inLines(reply: FastifyReply, objects: readonly object[]): FastifyReply {
  const lines = objects.map((each) => `${JSON.stringify(each)}\n`);
  return reply.type('application/x-ndjson').send(Readable.from(lines));
}
