import { Tensor } from 'onnxruntime-node';

/** One graph of the bundle: named tensors in, named tensors out. It blocks the event loop while it runs. */
export type Graph = (feeds: Readonly<Record<string, Tensor>>) => Promise<Readonly<Record<string, Tensor>>>;

export type Outputs = Readonly<Record<string, Tensor>>;

/** A list of embeddings: [count, width], row-major. */
export interface Rows {
  readonly data: Float32Array;
  readonly count: number;
  readonly width: number;
}

/** @throws Error when the graph has no such output; sessions.ts checks all names once, at load */
export function getOutput(outputs: Outputs, name: string): Tensor {
  const tensor = outputs[name];
  if (tensor === undefined) throw new Error(`a graph gave no output ${name}`);
  return tensor;
}

/** @throws Error when the tensor is not float32 */
export function readFloats(tensor: Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new Error(`a tensor is ${tensor.type} where float32 is expected`);
}

/** @throws Error when the tensor is not int64 */
export function readIntegers(tensor: Tensor): BigInt64Array {
  if (tensor.data instanceof BigInt64Array) return tensor.data;
  throw new Error(`a tensor is ${tensor.type} where int64 is expected`);
}

/** @throws Error when the shape differs from what the bundle promises */
export function checkShape(name: string, tensor: Tensor, shape: readonly number[]): void {
  const { dims } = tensor;
  if (dims.length !== shape.length || dims.some((size, axis) => size !== shape[axis])) {
    throw new Error(`${name} is [${dims.join(', ')}] where [${shape.join(', ')}] is expected`);
  }
}

/** Makes an int64 tensor without dimensions. */
export function toScalar(value: number): Tensor {
  return new Tensor('int64', BigInt64Array.of(BigInt(value)), []);
}

/**
 * Takes the given rows of a float32 tensor [B, …] in the given order: [rows.length, …]. The tensor itself is returned
 * when these are all of its rows in order, because a copy of a batch's patch features is megabytes.
 */
export function pickRows(tensor: Tensor, rows: readonly number[]): Tensor {
  const [count = 0, ...rest] = tensor.dims;
  if (rows.length === count && rows.every((row, index) => row === index)) return tensor;
  const width = multiply(rest);
  const source = readFloats(tensor);
  const picked = new Float32Array(rows.length * width);
  for (const [index, row] of rows.entries()) {
    picked.set(source.subarray(row * width, (row + 1) * width), index * width);
  }
  return new Tensor('float32', picked, [rows.length, ...rest]);
}

/** Writes the rows of `part` to the given rows of `whole`, a float32 tensor of `count` rows that is made if absent. */
export function scatterRows(part: Tensor, rows: readonly number[], count: number, whole?: Tensor): Tensor {
  const [, ...rest] = part.dims;
  const width = multiply(rest);
  const target = whole ?? new Tensor('float32', new Float32Array(count * width), [count, ...rest]);
  const source = readFloats(part);
  for (const [index, row] of rows.entries()) {
    readFloats(target).set(source.subarray(index * width, (index + 1) * width), row * width);
  }
  return target;
}

function multiply(sizes: readonly number[]): number {
  return sizes.reduce((product, size) => product * size, 1);
}

/** Gives one row as a view, not a copy. */
export function getRow(rows: Rows, index: number): Float32Array {
  return rows.data.subarray(index * rows.width, (index + 1) * rows.width);
}

/* Indices stay below the vectors' common length, and a default value for each read would hide it if they did not. */
/* eslint-disable @typescript-eslint/no-non-null-assertion */

/** The inner product of two vectors of equal length; of two unit vectors, it is their cosine. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** The mean of the rows, scaled to unit length; this is how several descriptions of one thing become one embedding. */
export function averageDirection(rows: readonly Float32Array[], width: number): Float32Array {
  const sum = new Float32Array(width);
  for (const row of rows) {
    for (let i = 0; i < width; i++) sum[i]! += row[i]!;
  }
  // The sum has the direction of the mean. A sum of zero has no direction and stays zero, instead of becoming NaN.
  const length = Math.hypot(...sum) || 1;
  return sum.map((value) => value / length);
}

/* eslint-enable @typescript-eslint/no-non-null-assertion */

/** The largest inner product of `vector` with any of the rows. */
export function maxDot(vector: Float32Array, rows: Rows): number {
  let max = -Infinity;
  for (let i = 0; i < rows.count; i++) max = Math.max(max, dot(vector, getRow(rows, i)));
  return max;
}
