import { InferenceSession } from 'onnxruntime-node';
import { readBundleFile } from './bundle.js';
import { BundleError, type BundleManifest } from './bundle-manifest.js';
import type { LoadOrder } from './messages.js';
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
export type Graphs = Readonly<Record<GraphName, Graph>>;

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
export function restrictPrecision(manifest: BundleManifest, wanted: string): BundleManifest {
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
 * @throws BundleError when a file differs or lacks a tensor of the contract, or the provider cannot run it
 */
export async function loadGraphs(manifest: BundleManifest, order: LoadOrder): Promise<Graphs> {
  const files = manifest.precisions[order.precision];
  if (files === undefined) throw new BundleError(`the bundle has no precision ${order.precision}`);
  const load = async (name: GraphName): Promise<Graph> => {
    const model = await readBundleFile(order.bundlePath, manifest, files[name]);
    const session = await InferenceSession.create(model, sessionOptions(order)).catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      throw new BundleError(`${files[name]} does not load on provider ${order.provider}: ${reason}`, {
        cause: error,
      });
    });
    checkSignature(files[name], session, signatures[name]);
    return (feeds) => session.run(feeds);
  };
  // One after the other: each holds its file's bytes only while it loads.
  return {
    encoder: await load('encoder'),
    mixup: await load('mixup'),
    decoder: await load('decoder'),
    textEncoder: await load('textEncoder'),
  };
}

function sessionOptions(order: LoadOrder): InferenceSession.SessionOptions {
  return {
    executionProviders: executionProviders(order.provider, order.device),
    graphOptimizationLevel: 'all',
    intraOpNumThreads: order.threads,
    interOpNumThreads: 1,
    // A spinning thread takes a core from a process that has work.
    extra: { session: { intra_op: { allow_spinning: order.spinning ? '1' : '0' } } },
  };
}

function executionProviders(provider: string, deviceId: number): InferenceSession.ExecutionProviderConfig[] {
  switch (provider) {
    case 'cuda':
    case 'dml':
      return [{ name: provider, deviceId }];
    case 'tensorrt':
      // What TensorRT cannot build runs on CUDA.
      return [
        { name: 'tensorrt', deviceId },
        { name: 'cuda', deviceId },
      ];
    default:
      return [provider];
  }
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
