import type { Model } from '../../src/scheduler/model.js';
import { exampleFacts } from '../inference/example-bundle.js';

/** The example bundle as a model that runs nothing, unless `run` is given. */
export function fakeModel(parts: Partial<Model> = {}): Model {
  return {
    bundle: exampleFacts,
    provider: 'cpu',
    devices: [],
    placement: { encoder: 'cpu', mixup: 'cpu', decoder: 'cpu', textEncoder: 'cpu' },
    precision: 'w8',
    servingSince: 0,
    run: (): Promise<never> => Promise.reject(new Error('this model runs nothing')),
    ...parts,
  };
}
