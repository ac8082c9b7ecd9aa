/** What a figure should be. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** A figure beside its target, and whether it is met. */
export function againstTarget(value: number, target: Target): string {
  const isMet = 'atLeast' in target ? value >= target.atLeast : value <= target.atMost;
  const bound = 'atLeast' in target ? `at least ${target.atLeast}` : `at most ${target.atMost}`;
  return `${value.toFixed(2)} (${bound}: ${isMet ? 'met' : 'missed'})`;
}

/** Every one of them should have been something; how many were. */
export function allOf(count: number, total: number): string {
  return `${count} of ${total} (all: ${count === total ? 'met' : 'missed'})`;
}
