/** How the device's work is divided among processes. */
export interface WorkerPlan {
  readonly device: number;
  readonly threads: number;
  readonly spinning: boolean;
}

export interface WorkerPlanSettings {
  readonly provider: string;
  /** Device numbers; empty means the first. */
  readonly devices: readonly string[];
  /** Processes on CPUs; other providers have one for each device. */
  readonly workers: number | 'auto';
  /** Threads of all processes together. */
  readonly threads: number | 'auto';
}

/** @param cores that may be kept busy */
export function planWorkers(settings: WorkerPlanSettings, cores: number): WorkerPlan[] {
  const devices = settings.devices.length === 0 ? [0] : settings.devices.map(Number);
  const places =
    settings.provider === 'cpu'
      ? Array.from({ length: settings.workers === 'auto' ? 1 : settings.workers }, () => 0)
      : devices;
  const total = settings.threads === 'auto' ? cores : settings.threads;
  const threads = Math.max(1, Math.floor(total / places.length));
  // Images are decoded on the same cores, and a thread that spins takes one from them.
  return places.map((device) => ({ device, threads, spinning: false }));
}
