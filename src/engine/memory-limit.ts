import { totalmem } from 'node:os';

/**
 * Bytes this process and its children may use together: the container's limit, or the machine's memory.
 * @param limit of the container; 0, or more than any machine has, where there is none
 */
export function usableMemory(total = totalmem(), limit = process.constrainedMemory()): number {
  return limit === 0 ? total : Math.min(total, limit);
}
