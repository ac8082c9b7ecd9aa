import assert from 'node:assert/strict';
import files, { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLocations } from '../../src/jobs/locations.js';

test('only what lies in the folder of jobs is taken, also through links', async (t) => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'pcm-caption-locations-')));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const root = join(folder, 'jobs');
  await mkdir(join(root, 'album'), { recursive: true });
  await writeFile(join(folder, 'secret'), '');
  await symlink(folder, join(root, 'out'));
  await symlink(join(root, 'album'), join(root, 'inside'));
  await symlink(join(folder, 'nowhere'), join(root, 'broken'));
  await symlink('loop', join(root, 'loop'));
  await writeFile(join(root, 'file'), '');
  const locations = createLocations({ root, buckets: [] });
  const resolve = (text: string) => locations.resolve(text);
  for (const [name, path] of [
    ['album/', `${root}/album/`],
    ['album/a.jpg', `${root}/album/a.jpg`],
    ['new/folder', `${root}/new/folder`],
    [`${root}/album`, `${root}/album`],
    ['album/../album/x', `${root}/album/x`],
    ['inside/a.jpg', `${root}/inside/a.jpg`],
    ['..a/b', `${root}/..a/b`],
    ['.', root],
  ] as const) {
    assert.equal(await resolve(name), path);
    assert.equal(await resolve(path), path);
  }
  for (const name of [
    '..',
    '../secret',
    'album/../../secret',
    '/etc/passwd',
    `${root}-other/x`,
    'out/secret',
    'out/new',
    'loop/a.jpg',
    'file/a.jpg',
    'album/\0',
    's3://album/',
    'file:///etc/passwd',
  ]) {
    await assert.rejects(resolve(name), { code: 'forbidden' }, name);
  }
});

test('a shared folder that does not answer for a moment is no fault of the image', async (t) => {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'pcm-caption-locations-')));
  t.after(() => rm(root, { recursive: true, force: true }));
  const locations = createLocations({ root, buckets: [] });
  const original = realpath;
  const image = join(root, 'a.jpg');
  for (const [path, code] of [
    [root, 'EIO'],
    [root, 'ENOENT'],
    [image, 'EIO'],
    [image, 'ESTALE'],
    [image, 'ETIMEDOUT'],
  ] as const) {
    const faulty = t.mock.method(files, 'realpath', (name: string) =>
      name === path ? Promise.reject(Object.assign(new Error(code), { code })) : original(name),
    );
    syncBuiltinESMExports();
    await assert.rejects(locations.resolve('a.jpg'), { code: 'storage_unavailable' }, code);
    faulty.mock.restore();
    syncBuiltinESMExports();
  }
  assert.equal(await locations.resolve('a.jpg'), image);
});
