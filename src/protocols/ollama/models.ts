import type { FastifyInstance } from 'fastify';
import type { ProtocolOptions } from '../../http/protocol.js';
import { packageVersion } from '../../version.js';
import { chooseModel, modelNames } from '../models.js';
import { jsonBody, optionalText } from '../permissive.js';

/** What clients ask about the server and its models before they send an image. */
export function addModelRoutes(app: FastifyInstance, options: ProtocolOptions): void {
  const { scheduler } = options;

  const details = () => ({
    parent_model: '',
    format: 'onnx',
    family: 'pcm-net',
    families: ['pcm-net'],
    parameter_size: `${Math.round(sizeOf() / 1e6)}M`,
    quantization_level: scheduler.model.precision,
  });
  const sizeOf = () => {
    const { bundle, precision } = scheduler.model;
    const graphs = Object.values(bundle.precisions[precision] ?? {});
    return graphs.reduce((sum, name) => sum + (bundle.files[name]?.bytes ?? 0), 0);
  };
  const modelOf = (name: string) => ({
    name: tagged(name),
    model: tagged(name),
    modified_at: new Date(scheduler.model.servingSince).toISOString(),
    size: sizeOf(),
    digest: scheduler.model.bundle.digest,
    details: details(),
    capabilities: ['completion', 'vision'],
  });

  app.get('/api/tags', {
    schema: { summary: 'The served model, once for each of its names' },
    handler: () => ({ models: modelNames(options).map(modelOf) }),
  });
  app.get('/api/ps', {
    schema: { summary: 'The same: it is always loaded' },
    handler: () => ({
      models: modelNames(options).map((name) => ({
        ...modelOf(name),
        expires_at: '9999-12-31T23:59:59Z',
        size_vram: 0,
      })),
    }),
  });
  app.post('/api/show', {
    schema: {
      summary: 'What the model is',
      body: { type: 'object', additionalProperties: true, examples: [{ model: 'MODEL' }] },
    },
    handler: (request) => {
      const body = jsonBody(request);
      chooseModel(optionalText(body['model'] ?? body['name'], 'model'), options);
      const { bundle, servingSince } = scheduler.model;
      return {
        license: bundle.licence,
        modelfile: '',
        parameters: '',
        template: '',
        details: details(),
        model_info: {
          'general.architecture': 'pcm-net',
          'general.basename': bundle.id,
          'general.version': bundle.version,
          'pcm-net.context_length': bundle.decoding.maxLength,
          'pcm-net.embedding_length': bundle.dimensions.embedding,
          'pcm-net.vocab_size': bundle.dimensions.vocabulary,
        },
        capabilities: ['completion', 'vision'],
        modified_at: new Date(servingSince).toISOString(),
      };
    },
  });
  app.get('/api/version', {
    schema: { summary: 'The version of this service' },
    handler: () => ({ version: packageVersion() }),
  });
}

/** Ollama's names have a tag. */
function tagged(name: string): string {
  return name.includes(':') ? name : `${name}:latest`;
}
