/**
 * The value below which a share of the numbers lies, interpolated between neighbours (Hyndman and Fan's type 7).
 * @param share 0…1
 * @throws Error when there are no numbers
 */
export function percentile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) throw new Error('there are no numbers');
  return below + (above - below) * (at - Math.floor(at));
}

/** @throws Error when there are no numbers */
export function median(numbers: readonly number[]): number {
  return percentile(numbers, 0.5);
}

/** @throws Error when there are no numbers */
export function mean(numbers: readonly number[]): number {
  if (numbers.length === 0) throw new Error('there are no numbers');
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
