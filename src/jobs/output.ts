import { ServiceError } from '../errors.js';
import { readObject, writeObject } from '../library/storage.js';
import type { JobPlan, JobResult, JobSource } from './job.js';

/** What the output holds beside results: whose they are. */
export interface OutputOrder {
  readonly fingerprint: string;
  readonly source: JobSource;
}

/** More than a shard's results or list, or a plan, ever have. */
const maxBytes = 256 * 1024 * 1024;

/**
 * The folder or prefix of a job's results. Each object in it is written whole and by name, so that what is done twice is
 * there once:
 *
 *     job.json             the source of the images, and the fingerprint of the order
 *     plan.json            how many images and shards there are; written when all lists are
 *     lists/00000.ndjson   the images of a shard: a name on each line
 *     parts/00000.ndjson   the results of the shard, a line for each image
 *     summary.json         counts, written at the end
 */
export class JobOutput {
  constructor(readonly name: string) {}

  readOrder(signal?: AbortSignal): Promise<OutputOrder | undefined> {
    return this.#readJson('job.json', isOrder, signal);
  }

  writeOrder({ fingerprint, source }: OutputOrder): Promise<void> {
    return this.#write('job.json', `${JSON.stringify({ fingerprint, source })}\n`);
  }

  readPlan(signal?: AbortSignal): Promise<JobPlan | undefined> {
    return this.#readJson('plan.json', isPlan, signal);
  }

  writePlan(plan: JobPlan): Promise<void> {
    return this.#write('plan.json', `${JSON.stringify(plan)}\n`);
  }

  writeSummary(summary: object): Promise<void> {
    return this.#write('summary.json', `${JSON.stringify(summary)}\n`);
  }

  async readList(shard: number, signal?: AbortSignal): Promise<string[]> {
    const lines = linesOf(await this.#read(fileOf('lists', shard), signal));
    return lines.map((line) => {
      const name: unknown = JSON.parse(line);
      if (typeof name !== 'string') throw new Error('a list has something other than names');
      return name;
    });
  }

  writeList(shard: number, names: readonly string[]): Promise<void> {
    return this.#write(fileOf('lists', shard), names.map((name) => `${JSON.stringify(name)}\n`).join(''));
  }

  /** The results of a shard as lines of JSON; undefined when it is not done. */
  async readPart(shard: number, signal?: AbortSignal): Promise<string[] | undefined> {
    const text = await unlessMissing(this.#read(fileOf('parts', shard), signal));
    return text === undefined ? undefined : linesOf(text);
  }

  writePart(shard: number, results: readonly JobResult[]): Promise<void> {
    return this.#write(fileOf('parts', shard), results.map((each) => `${JSON.stringify(each)}\n`).join(''));
  }

  async #read(file: string, signal?: AbortSignal): Promise<string> {
    return (await readObject(`${this.name}/${file}`, { maxBytes, signal })).toString('utf8');
  }

  #write(file: string, text: string): Promise<void> {
    return writeObject(`${this.name}/${file}`, text);
  }

  async #readJson<T>(
    file: string,
    isOne: (value: unknown) => value is T,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const text = await unlessMissing(this.#read(file, signal));
    if (text === undefined) return undefined;
    const value: unknown = parseOr(text, undefined);
    if (isOne(value)) return value;
    throw new ServiceError('output_in_use', `${file} in the output was not written by a job.`);
  }
}

function fileOf(folder: 'lists' | 'parts', shard: number): string {
  return `${folder}/${String(shard).padStart(5, '0')}.ndjson`;
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'not_found') return undefined;
    throw error;
  }
}

function parseOr(text: string, otherwise: unknown): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return otherwise;
  }
}

function isOrder(value: unknown): value is OutputOrder {
  return hasMembers(value, 'fingerprint', 'source') && typeof value['fingerprint'] === 'string';
}

function isPlan(value: unknown): value is JobPlan {
  const names = ['images', 'shards', 'shardImages'];
  return hasMembers(value, ...names) && names.every((name) => typeof value[name] === 'number');
}

export function hasMembers(value: unknown, ...names: string[]): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && names.every((name) => name in value);
}
