import { InferenceSession } from 'onnxruntime-node';
import { readBundleFile } from './bundle.js';
import { BundleError, type BundleManifest } from './bundle-manifest.js';
import type { LoadOrder, Placement } from './messages.js';
import { type Candidate, type PlacedGraph, placeGraph } from './placement.js';
import { executionProviders, providerError } from './providers.js';
import type { Graph } from './tensors.js';

/** Names of the tensors of each graph: the contract with the export. */
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
  /** False while graphs run on several providers, so that the faster one can be kept. */
  readonly isSettled: boolean;
  /** Ends the measuring of graphs that run on several providers, and tells which one each graph is on now. */
  readonly settle: () => Promise<Placement>;
}

/**
 * Graphs that a provider may run slower than the CPU, so both are tried. WebGPU has no kernel of `Loop`: the decoder's
 * loop runs on the CPU, and each of its steps waits for the GPU.
 */
const alsoOnCpu: Readonly<Record<string, readonly GraphName[]>> = { webgpu: ['decoder'] };

/** Best first. Integer arithmetic is for CPUs; other providers fold the weights of `w8` to floating point. */
const preferredPrecisions = {
  cpu: ['int8', 'w8', 'fp32', 'fp16'],
  other: ['fp16', 'w8', 'fp32'],
} as const;

/**
 * The best precision of the bundle for a provider.
 * @throws BundleError when the bundle has none that the provider runs
 */
export function choosePrecision(manifest: BundleManifest, provider: string): string {
  const preferred = provider === 'cpu' ? preferredPrecisions.cpu : preferredPrecisions.other;
  const chosen = preferred.find((precision) => Object.hasOwn(manifest.precisions, precision));
  if (chosen === undefined) {
    const offered = Object.keys(manifest.precisions).join(', ');
    throw new BundleError(`no precision of the bundle (${offered}) runs on provider ${provider}`);
  }
  return chosen;
}

/**
 * The manifest as if it had only the wanted precision; `auto` leaves the choice to the provider.
 * @throws BundleError when the bundle has it not
 */
export function restrictPrecision<Manifest extends BundleManifest>(
  manifest: Manifest,
  wanted: string,
): Manifest {
  if (wanted === 'auto') return manifest;
  const graphs = manifest.precisions[wanted];
  if (graphs === undefined) {
    const offered = Object.keys(manifest.precisions).join(', ');
    throw new BundleError(`the bundle has no precision ${wanted}; it has ${offered}`);
  }
  return { ...manifest, precisions: { [wanted]: graphs } };
}

/**
 * Loads the four graphs from bytes that were checked against their hashes.
 * @throws BundleError when a file differs or lacks a tensor of the contract; ProviderError when the provider cannot run it
 */
export async function loadGraphs(manifest: BundleManifest, order: LoadOrder): Promise<Graphs> {
  const files = manifest.precisions[order.precision];
  if (files === undefined) throw new BundleError(`the bundle has no precision ${order.precision}`);
  const load = async (name: GraphName): Promise<PlacedGraph> => {
    const file = { name: files[name], bytes: await readBundleFile(order.bundlePath, manifest, files[name]) };
    const wanted = await loadCandidate(name, file, order);
    const isUndecided = alsoOnCpu[order.provider]?.includes(name) ?? false;
    return placeGraph(
      wanted,
      isUndecided ? [await loadCandidate(name, file, { ...order, provider: 'cpu' })] : [],
    );
  };
  // One after the other: each holds its file's bytes only while it loads.
  const encoder = await load('encoder');
  const mixup = await load('mixup');
  const decoder = await load('decoder');
  const textEncoder = await load('textEncoder');
  return {
    isSettled: alsoOnCpu[order.provider] === undefined,
    run: { encoder: encoder.run, mixup: mixup.run, decoder: decoder.run, textEncoder: textEncoder.run },
    settle: async () => ({
      encoder: await encoder.settle(),
      mixup: await mixup.settle(),
      decoder: await decoder.settle(),
      textEncoder: await textEncoder.settle(),
    }),
  };
}

/** Not a closure of `loadGraphs`: what it returns would keep the file's bytes for as long as the graph. */
async function loadCandidate(
  name: GraphName,
  file: { readonly name: string; readonly bytes: Buffer },
  order: LoadOrder,
): Promise<Candidate> {
  const session = await createSession(file.bytes, file.name, order);
  checkSignature(file.name, session, signatures[name]);
  return {
    provider: order.provider,
    run: (feeds) => session.run(feeds),
    release: () => session.release(),
  };
}

async function createSession(model: Buffer, file: string, order: LoadOrder): Promise<InferenceSession> {
  return InferenceSession.create(model, sessionOptions(order)).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    if (order.provider !== 'cpu') throw providerError(order.provider, reason);
    throw new BundleError(`${file} does not load: ${reason}`, { cause: error });
  });
}

export function sessionOptions(order: LoadOrder): InferenceSession.SessionOptions {
  return {
    executionProviders: executionProviders(order.provider, order.device),
    graphOptimizationLevel: 'all',
    intraOpNumThreads: order.threads,
    interOpNumThreads: 1,
    // Images are decoded on the same cores, and a thread that spins takes one from them and from other processes.
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
    if (!inputs.includes(name))
      throw new BundleError(`${file} has an input ${name} that nothing is known of`);
  }
  for (const name of outputs) {
    if (!session.outputNames.includes(name)) throw new BundleError(`${file} has no output ${name}`);
  }
}
