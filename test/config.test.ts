import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { ConfigError, readConfig, settingsHelp } from '../src/config.js';
import { findIneffectiveSettings } from '../src/ineffective-settings.js';

describe('settings', () => {
  test('an empty environment gives the defaults of the reference', () => {
    const config = readConfig({});
    const { host, port, provider, workers, threads, batchDelayMs, maxQueueImages, requestTimeoutMs } = config;
    assert.deepEqual(
      { host, port, provider, workers, threads, batchDelayMs, maxQueueImages, requestTimeoutMs },
      {
        host: '127.0.0.1',
        port: 8080,
        provider: 'auto',
        workers: 'auto',
        threads: 'auto',
        batchDelayMs: 0,
        maxQueueImages: 256,
        requestTimeoutMs: 30_000,
      },
    );
    const { maxBodyBytes, maxPixels, maxBatchImages, cacheSize, allowUrlImages, heic } = config;
    assert.deepEqual(
      { maxBodyBytes, maxPixels, maxBatchImages, cacheSize, allowUrlImages, heic },
      {
        maxBodyBytes: 20 * 1024 * 1024,
        maxPixels: 50_000_000,
        maxBatchImages: 16,
        cacheSize: 10_000,
        allowUrlImages: false,
        heic: true,
      },
    );
    assert.match(config.modelPath, /models\/default$/);
  });

  test('an empty variable is an unset one', () => {
    assert.equal(readConfig({ PORT: '' }).port, 8080);
  });

  test('values are read as what they mean', () => {
    const config = readConfig({
      PORT: '0',
      WORKERS: '2',
      DEVICES: '0, 1',
      TRUST_PROXY: '10.0.0.0/8, fd00::/8',
      LOG_LEVEL: 'warn',
      CACHE_SIZE: '0',
      HEIC: 'false',
    });
    assert.equal(config.heic, false);
    assert.deepEqual(
      [config.port, config.workers, config.devices, config.trustProxy, config.logLevel, config.cacheSize],
      [0, 2, ['0', '1'], ['10.0.0.0/8', 'fd00::/8'], 'warn', 0],
    );
  });

  const invalid: [string, string, RegExp][] = [
    ['PORT', '65536', /^PORT must be a whole number from 0 to 65535, not "65536"$/],
    ['PORT', '80a', /^PORT must be a whole number/],
    ['PORT', '-1', /^PORT must be/],
    ['WORKERS', 'many', /^WORKERS must be auto, or a whole number from 1 to 64, not "many"$/],
    ['PROVIDER', 'gpu', /^PROVIDER must be one of auto, cpu, cuda/],
    ['TRUST_PROXY', 'yes', /^TRUST_PROXY must be true, false, or the networks of proxies/],
    ['TRUST_PROXY', '1', /^TRUST_PROXY must be/],
    ['DEVICES', 'zero', /^DEVICES must be device numbers/],
    ['MAX_PIXELS', '0', /^MAX_PIXELS must be/],
    ['URL_IMAGE_HOSTS', 'https://example.org', /^URL_IMAGE_HOSTS must be host names/],
    ['URL_IMAGE_NETWORKS', '10.0.0.1', /^URL_IMAGE_NETWORKS must be networks/],
    ['LOG_LEVEL', 'loud', /^LOG_LEVEL must be one of/],
    ['MODEL_PATH', ' ', /^MODEL_PATH must be a folder, not " "$/],
  ];
  for (const [name, value, message] of invalid) {
    test(`${name}=${value} is refused with what it takes`, () => {
      assert.throws(
        () => readConfig({ [name]: value }),
        (error) => {
          assert.ok(error instanceof ConfigError);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  test('keys are kept as their hashes, given as such or not', () => {
    const key = 'a-key-of-some-length';
    const hash = createHash('sha256').update(key).digest();
    const { apiKeyHashes } = readConfig({ API_KEYS: `${key}, sha256:${hash.toString('hex')}` });
    assert.deepEqual(apiKeyHashes, [hash, hash]);
    assert.ok(!inspect(readConfig({ API_KEYS: key }), { depth: 9 }).includes(key));
  });

  test('every setting that is not valid is told, each on its line', () => {
    assert.throws(
      () => readConfig({ PORT: 'web', HOST: '::1', WORKERS: `9\n${'9'.repeat(200)}` }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        const [port = '', workers = '', ...others] = error.message.split('\n');
        assert.match(port, /^PORT .* not "web"$/);
        assert.match(workers, /^WORKERS .* not "9\\n9{98}…"$/);
        assert.deepEqual(others, []);
        return true;
      },
    );
  });

  test('a setting that changes nothing is told, with what it would need', () => {
    const told = (environment: Record<string, string>) =>
      findIneffectiveSettings(readConfig(environment)).join('\n');
    const cases: [Record<string, string>, Record<string, string>, RegExp][] = [
      [
        { URL_IMAGE_HOSTS: 'example.org,*.example.com' },
        { ALLOW_URL_IMAGES: 'true' },
        /^URL_IMAGE_HOSTS=example\.org,\*\.example\.com has no effect without ALLOW_URL_IMAGES=true$/,
      ],
      [
        { URL_IMAGE_NETWORKS: '10.0.0.0/8' },
        { ALLOW_URL_IMAGES: 'true' },
        /^URL_IMAGE_NETWORKS=10\.0\.0\.0\/8 has no effect/,
      ],
      [
        { KEYLESS_PATHS: '/api/chat' },
        { API_KEYS: 'a-key-of-some-length' },
        /^KEYLESS_PATHS=\/api\/chat has no effect without API_KEYS$/,
      ],
      [
        { PROTOCOLS: 'none', PROTOCOL_MIN_CONFIDENCE: '0.5' },
        { PROTOCOLS: 'ollama' },
        /^PROTOCOL_MIN_CONFIDENCE=0\.5 has no effect with PROTOCOLS=none$/,
      ],
      [
        { PROVIDER: 'cuda', WORKERS: '2' },
        { PROVIDER: 'cpu' },
        /^WORKERS=2 has no effect with PROVIDER=cuda$/,
      ],
      [
        { MAX_BATCH_SIZE: '1', BATCH_DELAY_MS: '5' },
        { MAX_BATCH_SIZE: '2' },
        /^BATCH_DELAY_MS=5 has no effect with MAX_BATCH_SIZE=1$/,
      ],
    ];
    for (const [environment, cure, message] of cases) {
      assert.match(told(environment), message);
      assert.equal(told({ ...environment, ...cure }), '');
    }
    assert.equal(told({}), '');
  });

  test('a key is never repeated in a message', () => {
    assert.throws(
      () => readConfig({ API_KEYS: 'secret' }),
      (error) => !String(error).includes('secret'),
    );
    assert.throws(
      () => readConfig({ API_KEYS: '0123456789abcdef,sha256:0123secret' }),
      (error) => !/secret|0123/.test(String(error)),
    );
  });

  test('the help has a line for every setting, with its default', () => {
    const help = settingsHelp();
    for (const line of [
      /^ {2}PORT +port to listen on.*\[8080\]$/m,
      /^ {2}MODEL_PATH .*\[the embedded bundle\]$/m,
    ]) {
      assert.match(help, line);
    }
    assert.doesNotMatch(help, /\[\]/);
  });
});
