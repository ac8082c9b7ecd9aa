/** The largest priority that the queue takes. */
const maxPriority = 2_097_151;

/**
 * Priorities of a job's next shards, smaller ones first in line. They count on from those of the shards that are next in line
 * now, so that jobs take turns: a new job neither waits for the end of a large one nor holds it up (start-time fair queueing).
 *
 * @param last priority of the job's shard before; 0 when there is none
 * @param head priority of the shard that is next in line; undefined when none waits
 */
export function nextPriorities(count: number, last: number, head: number | undefined): number[] {
  const first = Math.max(last + 1, head ?? 1);
  return Array.from({ length: count }, (_, index) => Math.min(first + index, maxPriority));
}
