/** The formats that are only read: samples made by their specifications, whole and damaged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, extentsOf } from '../../contract/testing/block-node-suite.ts';
import { bochs } from '../bochs/index.ts';
import { cloop } from '../cloop/index.ts';
import { dmg } from '../dmg/index.ts';
import type { Format } from '../format.ts';
import { memoryNode } from '../memory.ts';
import { testCompression } from './compression.ts';
import { hostileSuite } from './hostile.ts';
import { bochsSample, cloopSample, DMG_ADC, DMG_ZLIB, dmgSample, sampleDisk } from './read-only-samples.ts';

const disk = sampleDisk(2 ** 18);

interface Sample {
  readonly what: string;
  readonly format: Format;
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  readonly metadata: (bytes: Uint8Array) => readonly (readonly [number, number])[];
}

const bochsMetadata = () => [[64, 100] as const, [512, 576] as const, [576, 590] as const];
const dmgMetadata = (bytes: Uint8Array) => [
  [bytes.length - 512, bytes.length - 280] as const,
  [bytes.length - 20, bytes.length - 12] as const,
  [bytes.length - 2500, bytes.length - 600] as const,
];
const SAMPLES: readonly Sample[] = [
  { what: 'bochs, version 1', format: bochs, bytes: bochsSample(disk, 1), littleEndian: true, metadata: bochsMetadata },
  { what: 'bochs, version 2', format: bochs, bytes: bochsSample(disk, 2), littleEndian: true, metadata: bochsMetadata },
  {
    what: 'cloop',
    format: cloop,
    bytes: cloopSample(disk, 32_768),
    littleEndian: false,
    metadata: () => [
      [128, 200],
      [200, 230],
    ],
  },
  {
    what: 'dmg, zlib',
    format: dmg,
    bytes: dmgSample(disk, 20_480, DMG_ZLIB),
    littleEndian: false,
    metadata: dmgMetadata,
  },
  {
    what: 'dmg, ADC',
    format: dmg,
    bytes: dmgSample(disk, 20_480, DMG_ADC),
    littleEndian: false,
    metadata: dmgMetadata,
  },
];

for (const { what, format, bytes, littleEndian, metadata } of SAMPLES) {
  const fileOf = async (content: Uint8Array) => {
    const file = memoryNode(0);
    await file.write(0, content);
    return file;
  };
  test(`${what}: reads as what it was made of`, async () => {
    const node = await format.open(await fileOf(bytes), { name: 'sample.dmg', compression: testCompression });
    assert.deepEqual([node.format, node.sizeBytes, node.readOnly], [format.name, disk.length, true]);
    await compare(node, disk);
    for (const [offset, length] of [
      [0, 1],
      [40_000, 2000],
      [81_919, 3],
      [disk.length - 700, 700],
    ]) {
      const part = new Uint8Array(length);
      await node.read(offset, part);
      assert.deepEqual(part, disk.subarray(offset, offset + length));
    }
    for (const extent of await extentsOf(node)) {
      const part = disk.subarray(extent.offset, extent.offset + extent.length);
      if (extent.zero) assert.ok(part.every((byte) => byte === 0));
    }
    await assert.rejects(node.write(0, new Uint8Array(1)), { code: 'read-only' });
    await node.close();
  });

  hostileSuite(what, {
    sound: () => fileOf(bytes),
    open: (file) => format.open(file, { name: 'hostile', compression: testCompression }),
    metadata,
    littleEndian,
    fileMaxBytes: bytes.length,
    rounds: 120,
    refusedMin: 12,
  });
}

test('dmg: what it is compressed with is named where it cannot be read', async () => {
  for (const [type, message] of [
    [0x80000006, /compressed with bzip2, which is not supported; zlib and ADC are/],
    [0x80000007, /compressed with LZFSE/],
    [0x80000008, /compressed with LZMA/],
    [0x80000099, /unknown type 0x80000099/],
  ] as const) {
    const file = memoryNode(0);
    await file.write(0, dmgSample(disk, 20_480, type));
    await assert.rejects(dmg.open(file, { name: 'packed' }), message);
  }
});

test('cloop: a block that unpacks to more than a block is refused', async () => {
  const bomb = cloopSample(new Uint8Array(2 ** 20), 2 ** 20);
  new DataView(bomb.buffer, bomb.byteOffset).setUint32(128, 512);
  const file = memoryNode(0);
  await file.write(0, bomb);
  const node = await cloop.open(file, { name: 'bomb', compression: testCompression });
  await assert.rejects(node.read(0, new Uint8Array(512)), /bomb: block 0 at \d+ cannot be unpacked/);
});
