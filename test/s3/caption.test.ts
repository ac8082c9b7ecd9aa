import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { after, before, test } from 'node:test';
import { readObject, writeObject } from '../../src/library/storage.js';
import { quarters } from '../images/drawn.js';
import { runCommand } from '../run-command.js';

const bucket = 'captions';
const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-s3-'));
const cli = (args: string[], environment: Record<string, string> = {}) =>
  runCommand('cli', args, { folder, environment });

before(async () => {
  await new S3Client({ forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket }));
  for (const width of [100, 200]) {
    await writeObject(`s3://${bucket}/2024/${width}.jpg`, await quarters(width, 100).jpeg().toBuffer());
  }
  await writeObject(`s3://${bucket}/2024/notes.txt`, 'no photo');
});
after(() => {
  rmSync(folder, { recursive: true });
});

test('a prefix is captioned, with sidecars as objects beside the photos, and goes on', async () => {
  const args = ['caption', `s3://${bucket}/2024/`, '--write', 'xmp', '--out', 'out.jsonl', '--resume'];
  const first = await cli(args);
  assert.equal(first.code, 0, first.stderr);
  const files = readFileSync(join(folder, 'out.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => /^\{"file":"([^"]+)"/.exec(line)?.[1]);
  assert.deepEqual(files, [`s3://${bucket}/2024/100.jpg`, `s3://${bucket}/2024/200.jpg`]);
  const sidecar = await readObject(`s3://${bucket}/2024/100.jpg.xmp`, { maxBytes: 10_000 });
  assert.match(sidecar.toString('utf8'), /<dc:description .*x-default">[A-Z]/);
  const second = await cli(args);
  assert.match(second.stderr, /0 captioned, 2 done before, 0 failed/);
});

test('a prefix is indexed in a file here, and searched', async () => {
  const { code } = await cli(['index', `s3://${bucket}/2024/`, '--index', 'album.db', '--no-captions']);
  assert.equal(code, 0);
  const found = await cli([
    'search',
    `s3://${bucket}/2024/`,
    '--index',
    'album.db',
    '--like',
    `s3://${bucket}/2024/200.jpg`,
    '--limit',
    '1',
  ]);
  assert.match(found.stdout, /^1\.000\t200\.jpg\n$/);
});

test('what is wrong with a bucket is said in words', async () => {
  const wrong: [string[], Record<string, string>, number, RegExp][] = [
    [['s3://captions/nothing/'], {}, 3, /missing_image/],
    [['s3://no-such-bucket/'], {}, 3, /not_found: S3 has no such object or bucket: NoSuchBucket/],
    [['s3://captions/'], { AWS_SECRET_ACCESS_KEY: 'wrong' }, 3, /forbidden: S3 does not allow it/],
    [
      ['s3://captions/'],
      { AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' },
      3,
      /storage_unavailable: S3 does not answer/,
    ],
    [['s3://captions/2024/', '--write', 'embed'], {}, 2, /--write embed needs files/],
  ];
  for (const [args, environment, code, message] of wrong) {
    const result = await cli(['caption', ...args], environment);
    assert.match(result.stderr, message);
    assert.equal(result.code, code, args.join(' '));
  }
});
