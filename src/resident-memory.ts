import { readFileSync } from 'node:fs';
import { Gauge, type Registry } from 'prom-client';

/** Memory pages of Linux, on all machines that ONNX Runtime has builds for. */
const pageBytes = 4096;

/** Resident memory of a process in bytes; 0 where the system does not tell, or the process has gone. */
export function residentBytes(pid: number | undefined): number {
  try {
    const [, pages] = readFileSync(`/proc/${String(pid)}/statm`, 'latin1').split(' ');
    return Number(pages) * pageBytes;
  } catch {
    return 0;
  }
}

/** @param pids the processes of each kind */
export function createMemoryMetric(
  registry: Registry,
  pids: Readonly<Record<'serving' | 'decode' | 'inference', () => readonly (number | undefined)[]>>,
): void {
  new Gauge({
    name: 'pcm_caption_process_resident_bytes',
    help: 'Resident memory of the processes of the service, by kind',
    labelNames: ['kind'],
    registers: [registry],
    collect() {
      for (const [kind, list] of Object.entries(pids)) {
        this.set(
          { kind },
          list().reduce<number>((sum, pid) => sum + residentBytes(pid), 0),
        );
      }
    },
  });
}
