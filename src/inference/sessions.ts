import { InferenceSession } from 'onnxruntime-node';
import { readBundleFile } from './bundle.js';
import { BundleError, type BundleManifest } from './manifest.js';
import type { LoadCommand, Placement } from './messages.js';
import { createProviderError, toExecutionProviders } from './providers.js';
import type { Graph } from './tensors.js';

/** The names of each graph's tensors. They are part of the bundle's contract with the export. */
const signatures = {
  encoder: { inputs: ['pixels'], outputs: ['grid', 'local', 'image_embedding'] },
  mixup: {
    inputs: ['grid', 'local', 'image_embedding', 'concepts'],
    outputs: ['memory', 'memory_mask', 'concept_ids', 'concept_scores', 'patch_scores'],
  },
  decoder: {
    inputs: [
      'memory',
      'memory_mask',
      'beam_size',
      'max_length',
      'length_penalty',
      'no_repeat_ngram',
      'word_bias',
    ],
    outputs: ['tokens', 'log_probs', 'lengths'],
  },
  textEncoder: { inputs: ['input_ids', 'attention_mask'], outputs: ['text_embedding'] },
} as const;

type GraphName = keyof typeof signatures;

export interface Graphs {
  readonly run: Readonly<Record<GraphName, Graph>>;
  /** Whether the execution provider of every graph is decided; until then, undecided graphs run on several. */
  readonly isSettled: boolean;
  /** Keeps each undecided graph on the provider that ran it fastest, and tells the provider of every graph. */
  readonly settle: () => Promise<Placement>;
}

/**
 * The graphs that an execution provider may run slower than the CPU does, so that both are measured. WebGPU has no
 * kernel for `Loop`: the decoder's loop runs on the CPU, and each of its steps waits for the GPU.
 */
const alsoOnCpu: Readonly<Record<string, readonly GraphName[]>> = { webgpu: ['decoder'] };

/**
 * Loads the four graphs from bytes that were checked against their hashes.
 * @throws BundleError when a file differs or lacks a tensor of the contract
 * @throws ProviderError when the provider cannot run a graph
 */
export async function loadGraphs(manifest: BundleManifest, command: LoadCommand): Promise<Graphs> {
  const files = manifest.precisions[command.precision];
  if (files === undefined) throw new BundleError(`the bundle has no precision ${command.precision}`);
  const load = async (name: GraphName): Promise<PlacedGraph> => {
    const bytes = await readBundleFile(command.bundlePath, manifest, files[name]);
    const file = { name: files[name], bytes };
    const wanted = await loadCandidate(name, file, command);
    const isUndecided = alsoOnCpu[command.provider]?.includes(name) ?? false;
    return placeGraph(
      wanted,
      isUndecided ? [await loadCandidate(name, file, { ...command, provider: 'cpu' })] : [],
    );
  };
  // The graphs load one after the other, so that the bytes of only one file are in memory at a time.
  const encoder = await load('encoder');
  const mixup = await load('mixup');
  const decoder = await load('decoder');
  const textEncoder = await load('textEncoder');
  return {
    isSettled: alsoOnCpu[command.provider] === undefined,
    run: { encoder: encoder.run, mixup: mixup.run, decoder: decoder.run, textEncoder: textEncoder.run },
    settle: async () => ({
      encoder: await encoder.settle(),
      mixup: await mixup.settle(),
      decoder: await decoder.settle(),
      textEncoder: await textEncoder.settle(),
    }),
  };
}

/** This is not a closure of `loadGraphs`, because the `run` it returns would then keep the file's bytes alive. */
async function loadCandidate(
  name: GraphName,
  file: { readonly name: string; readonly bytes: Buffer },
  command: LoadCommand,
): Promise<ProviderCandidate> {
  const session = await createSession(file.bytes, file.name, command);
  checkSignature(file.name, session, signatures[name]);
  return {
    provider: command.provider,
    run: (feeds) => session.run(feeds),
    release: () => session.release(),
  };
}

async function createSession(model: Buffer, file: string, command: LoadCommand): Promise<InferenceSession> {
  return InferenceSession.create(model, toSessionOptions(command)).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    if (command.provider !== 'cpu') throw createProviderError(command.provider, reason);
    throw new BundleError(`${file} does not load: ${reason}`, { cause: error });
  });
}

export function toSessionOptions(command: LoadCommand): InferenceSession.SessionOptions {
  return {
    executionProviders: toExecutionProviders(command.provider, command.device),
    graphOptimizationLevel: 'all',
    intraOpNumThreads: command.threads,
    interOpNumThreads: 1,
    // A thread that spins while it waits takes a core from image decoding and from the other inference processes.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
}

function checkSignature(
  file: string,
  session: InferenceSession,
  { inputs, outputs }: { inputs: readonly string[]; outputs: readonly string[] },
): void {
  for (const name of inputs) {
    if (!session.inputNames.includes(name)) throw new BundleError(`${file} has no input ${name}`);
  }
  for (const name of session.inputNames) {
    if (!inputs.includes(name)) throw new BundleError(`${file} has an unknown input ${name}`);
  }
  for (const name of outputs) {
    if (!session.outputNames.includes(name)) throw new BundleError(`${file} has no output ${name}`);
  }
}

/** One graph, loaded on one execution provider. */
export interface ProviderCandidate {
  readonly provider: string;
  readonly run: Graph;
  readonly release: () => Promise<void>;
}

/** A graph whose execution provider is decided, or is still to be decided by measuring. */
export interface PlacedGraph {
  readonly run: Graph;
  /** Keeps the candidate whose last run was the fastest, releases the others, and tells its provider. Idempotent. */
  readonly settle: () => Promise<string>;
}

/**
 * Runs a graph on every candidate in turn until it is settled, and gives the outputs of the first.
 * @param first the candidate of the wanted provider, which is kept when nothing was run or when another is as fast
 * @param others candidates of providers that may run this graph faster
 */
export function placeGraph(
  first: ProviderCandidate,
  others: readonly ProviderCandidate[] = [],
  now = () => performance.now(),
): PlacedGraph {
  const lastMs = new Map<ProviderCandidate, number>();
  let chosen = others.length === 0 ? first : undefined;

  const runTimed = async (candidate: ProviderCandidate, feeds: Parameters<Graph>[0]): ReturnType<Graph> => {
    const startedMs = now();
    const outputs = await candidate.run(feeds);
    lastMs.set(candidate, now() - startedMs);
    return outputs;
  };
  return {
    async run(feeds) {
      if (chosen !== undefined) return chosen.run(feeds);
      const outputs = await runTimed(first, feeds);
      for (const other of others) await runTimed(other, feeds);
      return outputs;
    },
    async settle() {
      if (chosen !== undefined) return chosen.provider;
      const all = [first, ...others];
      const fastest = all.reduce((best, each) =>
        (lastMs.get(each) ?? Infinity) < (lastMs.get(best) ?? Infinity) ? each : best,
      );
      chosen = fastest;
      for (const each of all) if (each !== fastest) await each.release();
      return fastest.provider;
    },
  };
}
