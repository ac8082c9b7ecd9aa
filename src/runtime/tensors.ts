import { Tensor } from 'onnxruntime-node';

/** One graph of the bundle: named tensors in, named tensors out. It blocks the event loop while it runs. */
export type Graph = (feeds: Readonly<Record<string, Tensor>>) => Promise<Readonly<Record<string, Tensor>>>;

export type Outputs = Readonly<Record<string, Tensor>>;

/** @throws Error when the graph has no such output; `sessions.ts` checks the names once, at load */
export function output(outputs: Outputs, name: string): Tensor {
  const tensor = outputs[name];
  if (tensor === undefined) throw new Error(`a graph gave no output ${name}`);
  return tensor;
}

/** @throws Error when the tensor is not float32 */
export function floats(tensor: Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new Error(`a tensor is ${tensor.type} where float32 is expected`);
}

/** @throws Error when the tensor is not int64 */
export function integers(tensor: Tensor): BigInt64Array {
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

/** Those rows of a float32 tensor [B, …] in that order: [rows.length, …]. All rows in order are not copied. */
export function pickRows(tensor: Tensor, rows: readonly number[]): Tensor {
  const [count = 0, ...rest] = tensor.dims;
  if (rows.length === count && rows.every((row, index) => row === index)) return tensor;
  const width = rest.reduce((product, size) => product * size, 1);
  const source = floats(tensor);
  const picked = new Float32Array(rows.length * width);
  for (const [index, row] of rows.entries()) {
    picked.set(source.subarray(row * width, (row + 1) * width), index * width);
  }
  return new Tensor('float32', picked, [rows.length, ...rest]);
}

/** A single int64 without dimensions. */
export function scalar(value: number): Tensor {
  return new Tensor('int64', BigInt64Array.of(BigInt(value)), []);
}
