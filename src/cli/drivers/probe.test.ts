import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bochsSample, cloopSample, DMG_ZLIB, dmgSample, sampleDisk } from '../../block/testing/read-only-samples.ts';
import { createImage } from '../img/create.ts';
import { openImage } from './open.ts';
import { mayBeOther } from './probe.ts';

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

async function formatOf(path: string): Promise<string> {
  const { node } = await openImage(path, { withoutBacking: true });
  await node.close();
  return node.format;
}

const MADE: readonly (readonly [format: string, options: readonly (readonly [string, string])[]])[] = [
  ['raw', []],
  ['qcow2', []],
  ['qcow2', [['compat', '0.10']]],
  ['vdi', []],
  ['vpc', [['subformat', 'dynamic']]],
  ['vhdx', []],
  ['qcow', []],
  ['cow', []],
  ['parallels', []],
  ...['monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat', 'streamOptimized'].map(
    (subformat) => ['vmdk', [['subformat', subformat]]] as const,
  ),
];

for (const [index, [format, options]] of MADE.entries()) {
  test(`an image of format ${format} ${options.flat().join('=')} is known by its first bytes`, async () => {
    const path = join(folder, `made-${index}`);
    await createImage(path, format, new Map(options), 2 ** 20);
    assert.equal(await formatOf(path), format);
  });
}

test('images of the formats that are only read are known', async () => {
  const disk = sampleDisk(2 ** 18);
  const samples = {
    'a.bochs': bochsSample(disk, 2),
    'a.cloop': cloopSample(disk, 65_536),
    'a.dmg': dmgSample(disk, 65_536, DMG_ZLIB),
  };
  for (const [name, bytes] of Object.entries(samples)) {
    writeFileSync(join(folder, name), bytes);
    assert.equal(await formatOf(join(folder, name)), name.slice(2));
  }
});

test('a LUKS header, and descriptors with comments and blank lines, are looked at closer', () => {
  const head = (text: string) => Buffer.from(text, 'latin1');
  for (const text of ['LUKS\xba\xbe\0\x01', '# Disk DescriptorFile\nversion=1', '\n\n#a\n #b\n\nVersion = 3\n']) {
    assert.equal(mayBeOther(head(text), 'x'), true, text);
  }
  for (const text of ['', 'plain text', '# a shell script\necho version=1', '\0'.repeat(2048)]) {
    assert.equal(mayBeOther(head(text), 'x'), false, text);
  }
});

test('a head of nothing but comments takes no time to refuse', () => {
  assert.equal(mayBeOther(readFileSync(import.meta.filename).fill('#'), 'x'), false);
  assert.equal(mayBeOther(Buffer.from('#\n \n\r'.repeat(400)), 'x'), false);
});
