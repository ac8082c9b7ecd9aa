import assert from 'node:assert/strict';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { before, test } from 'node:test';
import { listJobImages } from '../../src/jobs/list-images.js';
import { createLocations } from '../../src/jobs/locations.js';
import { listImages, listObjects, readObject, writeObject } from '../../src/library/storage.js';

// `.ci/s3` starts the server that the environment names.
const bucket = 'album';

before(async () => {
  await new S3Client({ forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket }));
});

test('objects are written, listed lazily by prefix over several pages, and read', async () => {
  const names = Array.from({ length: 1100 }, (_, index) => `s3://${bucket}/many/${1000 + index}.jpg`);
  for (let start = 0; start < names.length; start += 50) {
    await Promise.all(names.slice(start, start + 50).map((name) => writeObject(name, name)));
  }
  await writeObject(`s3://${bucket}/many/notes.txt`, 'no photo');
  await writeObject(`s3://${bucket}/many/.hidden/x.jpg`, 'hidden');
  await writeObject(`s3://${bucket}/other/x.jpg`, 'other');
  const found: string[] = [];
  for await (const { name, bytes } of listImages(`s3://${bucket}/many/`)) {
    assert.equal(bytes, name.length);
    found.push(name);
  }
  assert.deepEqual(found, names);
  assert.equal(String(await readObject(names[7] ?? '', { maxBytes: 100 })), names[7]);
});

test('an object is replaced', async () => {
  const name = `s3://${bucket}/parts/00001.ndjson`;
  for (const content of ['first', Buffer.from('second')]) {
    await writeObject(name, content);
    assert.deepEqual(await readObject(name, { maxBytes: 10 }), Buffer.from(content));
  }
});

test('a key may hold any letters', async () => {
  const name = `s3://${bucket}/a b/ü+%20&#?.jpg`;
  await writeObject(name, 'x');
  const listed = await listObjects(`s3://${bucket}/a b/`).next();
  assert.deepEqual({ ...listed.value, modifiedMs: 0 }, { name, bytes: 1, modifiedMs: 0 });
  assert.equal(String(await readObject(name, { maxBytes: 1 })), 'x');
});

test('what cannot be read or written has a code', async () => {
  const name = `s3://${bucket}/there.jpg`;
  await writeObject(name, 'four');
  await assert.rejects(readObject(`${name}x`, { maxBytes: 9 }), { code: 'not_found' });
  await assert.rejects(readObject(name, { maxBytes: 3 }), { code: 'body_too_large' });
  await assert.rejects(writeObject('s3://no-such-bucket/x', 'x'), { code: 'not_found' });
  await assert.rejects(listImages('s3://no-such-bucket/').next(), { code: 'not_found' });
  await assert.rejects(listImages('s3://').next(), { code: 'not_found' });
});

test('a job whose prefix has no slash at its end lists no keys of others that begin like it', async () => {
  for (const folder of ['2024', '2024-private']) await writeObject(`s3://${bucket}/${folder}/a.jpg`, 'photo');
  const locations = createLocations({ root: undefined, buckets: [`${bucket}/2024`] });
  const names: string[] = [];
  for await (const name of listJobImages({ prefix: `s3://${bucket}/2024` }, locations)) names.push(name);
  assert.deepEqual(names, [`s3://${bucket}/2024/a.jpg`]);
});
