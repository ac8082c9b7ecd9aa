import type { Config } from './config.js';

/** Says of each setting that was set but changes nothing what it would need. */
export function findIneffectiveSettings(config: Config): string[] {
  const { allowUrlImages, apiKeyHashes, protocols, provider, maxBatchSize } = config;
  const needsUrls = 'without ALLOW_URL_IMAGES=true';
  const hasProtocols = protocols.join() !== 'none';
  const rows: [name: string, value: unknown, hasNoEffect: boolean, why: string][] = [
    ['URL_IMAGE_HOSTS', config.urlImageHosts, !allowUrlImages, needsUrls],
    ['URL_IMAGE_NETWORKS', config.urlImageNetworks, !allowUrlImages, needsUrls],
    ['KEYLESS_PATHS', config.keylessPaths, apiKeyHashes.length === 0, 'without API_KEYS'],
    ['PROTOCOL_MIN_CONFIDENCE', config.protocolMinConfidence, !hasProtocols, 'with PROTOCOLS=none'],
    ['WORKERS', config.workers, !['auto', 'cpu'].includes(provider), `with PROVIDER=${provider}`],
    ['BATCH_DELAY_MS', config.batchDelayMs, maxBatchSize === 1, 'with MAX_BATCH_SIZE=1'],
  ];
  return rows.flatMap(([name, value, hasNoEffect, why]) => {
    const isSet = Array.isArray(value) ? value.length > 0 : value !== 0 && value !== 'auto';
    return isSet && hasNoEffect ? [`${name}=${String(value)} has no effect ${why}`] : [];
  });
}
