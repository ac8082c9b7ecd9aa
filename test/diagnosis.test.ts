import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { checkNode, describeCpu } from '../src/diagnosis.js';

describe('a diagnosis', () => {
  test('takes the versions of Node.js that package.json names', () => {
    assert.match(readFileSync('package.json', 'utf8'), /"node": ">=20\.19\.0"/);
    const states = ['20.19.0', '24.0.1', '20.18.3', '18.20.0'].map((version) => checkNode(version).state);
    assert.deepEqual(states, ['ok', 'ok', 'problem', 'problem']);
    assert.match(checkNode('18.20.0').detail, /^18\.20\.0; 20\.19 or newer is needed$/);
  });

  test('names the instructions of the CPU that make the model faster', () => {
    const x64 = describeCpu('processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\nbugs\t\t: \n');
    assert.equal(x64.state, 'ok');
    assert.match(x64.detail, / cores may be used, AVX2, AVX-512, AVX-512 VNNI$/);
    assert.match(describeCpu('Features\t: fp asimd asimddp i8mm\n').detail, /used, dot product, I8MM/);
    assert.match(describeCpu('').detail, /used$/);
  });
});
