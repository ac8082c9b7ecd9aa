/** Embeddings side by side: [count, width], row-major. */
export interface Rows {
  readonly data: Float32Array;
  readonly count: number;
  readonly width: number;
}

/** One row as a view, not a copy. */
export function rowOf(rows: Rows, index: number): Float32Array {
  return rows.data.subarray(index * rows.width, (index + 1) * rows.width);
}

/** The inner product; of two unit vectors, their cosine. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

/** The mean of the rows, scaled to unit length: how several descriptions of one thing become one embedding. */
export function meanDirection(rows: readonly Float32Array[], width: number): Float32Array {
  const mean = new Float32Array(width);
  for (const row of rows) {
    for (let i = 0; i < width; i++) mean[i] = (mean[i] ?? 0) + (row[i] ?? 0);
  }
  // The sum has the direction of the mean; a zero sum has none and stays zero.
  const length = Math.hypot(...mean) || 1;
  return mean.map((value) => value / length);
}

/** The largest inner product of `vector` with a row. */
export function largestDot(vector: Float32Array, rows: Rows): number {
  let largest = -Infinity;
  for (let i = 0; i < rows.count; i++) largest = Math.max(largest, dot(vector, rowOf(rows, i)));
  return largest;
}
