import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import type { ImageNode, OpenOptions } from '../format.ts';
import { memoryNode } from '../memory.ts';
import { testCompression } from '../testing/compression.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { sampleDisk } from '../testing/read-only-samples.ts';
import { vmdkStreamSample } from '../testing/vmdk-stream-sample.ts';
import { createVmdk, VMDK_SUBFORMATS, type VmdkCreateOptions, vmdk } from './index.ts';

/** A folder of files in memory. */
function folder() {
  const files = new Map<string, BlockNode>();
  const add = (name: string) => {
    const file = memoryNode(0, { name });
    files.set(name, file);
    return file;
  };
  const open = (name: string, options: Partial<OpenOptions> = {}): Promise<ImageNode> =>
    vmdk.open(files.get(name)!, {
      name,
      compression: testCompression,
      resolveDataFile: async (filename) => files.get(filename)!,
      resolveBacking: ({ filename }) => open(filename, { readOnly: true }),
      ...options,
    });
  const create = async (filename: string, options: Partial<VmdkCreateOptions> & { sizeBytes: number }) =>
    createVmdk(add(filename), { filename, cid: 1, createExtent: async (name) => add(name), ...options });
  return { files, add, open, create };
}

const VARIANTS: readonly Partial<VmdkCreateOptions>[] = [
  ...VMDK_SUBFORMATS.map((subformat) => ({ subformat })),
  { zeroedGrain: true },
];

for (const variant of VARIANTS) {
  let disk = folder();
  blockNodeSuite(`vmdk, ${JSON.stringify(variant)}`, {
    async create(sizeBytes) {
      disk = folder();
      await disk.create('disk.vmdk', { ...variant, sizeBytes });
      return disk.open('disk.vmdk');
    },
    reopen: () => disk.open('disk.vmdk'),
  });
}

test('vmdk: suite over a backing file of zeros', async () => {
  const disk = folder();
  await disk.create('base.vmdk', { sizeBytes: 2 ** 20, cid: 7 });
  await disk.create('top.vmdk', { sizeBytes: 2 ** 20, parent: { filename: 'base.vmdk', cid: 7 } });
  const top = await disk.open('top.vmdk');
  assert.deepEqual(top.info.backing, { filename: 'base.vmdk', format: 'vmdk' });
  await top.close();
  const base = await disk.open('base.vmdk');
  await base.write(1000, Uint8Array.of(1));
  await base.close();
  // The content of the parent changed, and so its CID.
  await assert.rejects(disk.open('top.vmdk'), /its backing file base.vmdk was changed/);
});

for (const subformat of ['monolithicSparse', 'streamOptimized'] as const) {
  hostileSuite(`vmdk, ${subformat}`, {
    async sound() {
      const disk = folder();
      await disk.create('sound', { sizeBytes: 2 ** 22, subformat, zeroedGrain: subformat === 'monolithicSparse' });
      const node = await disk.open('sound');
      await node.write(100_000, new Uint8Array(300_000).fill(1));
      await node.close();
      return disk.files.get('sound')!;
    },
    open: (file) => vmdk.open(file, { name: 'hostile', compression: testCompression }),
    metadata: () => [
      [0, 80],
      [0, 80],
      [21 * 512, 21 * 512 + 8],
      [22 * 512, 22 * 512 + 64],
      [26 * 512, 26 * 512 + 8],
      [27 * 512, 27 * 512 + 64],
      [128 * 512, 128 * 512 + 16],
      [512, 1024],
    ],
    littleEndian: true,
    fileMaxBytes: 2 ** 24,
    refusedMin: 80,
  });
}

test('vmdk: descriptors that cannot be right are refused, with the line', async () => {
  const sound = 'version=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "data" 0\n';
  const cases: readonly (readonly [from: string | RegExp, to: string, message: RegExp])[] = [
    ['RW 8', 'RW eight', /line 5 is neither a setting nor an extent/],
    ['RW 8', 'RW 99999999999999999999', /line 5: more than/],
    ['CID=1', 'CID=xyz', /cid must be a hexadecimal number/],
    ['monolithicFlat', 'custom', /its createType is custom/],
    ['createType', 'type', /createType is missing/],
    ['FLAT "data" 0', 'FLAT', /line 5: an extent of type FLAT needs a file name/],
    ['FLAT', 'VMFSRDM', /of type VMFSRDM/],
    ['RW 8', 'RW 9', /has 4096 bytes; 4608 are needed/],
    ['" 0', '" 17592186044416', /has 4096 bytes/],
    ['RW', 'NOACCESS', /may not be accessed/],
    [/RW.*\n/, '', /it names no extents/],
    ['createType', 'parentFileNameHint="up"\ncreateType', /backing file up, and none may be opened/],
  ];
  const open = async (text: string, resolve = true) => {
    const file = memoryNode(0);
    await file.write(0, new TextEncoder().encode(text));
    const extent = { resolveDataFile: async () => memoryNode(4096) };
    return vmdk.open(file, { name: 'descriptor', ...(resolve ? extent : {}) });
  };
  assert.equal((await open(sound)).sizeBytes, 4096);
  for (const [from, to, message] of cases) await assert.rejects(open(sound.replace(from, to)), message);
  await assert.rejects(open(sound, false), /its data is in data, and no other file may be opened/);
});

test('vmdk: a grain that unpacks to more than a grain is refused, and its neighbours are read', async () => {
  const disk = folder();
  await disk.create('bomb', { sizeBytes: 2 ** 20, subformat: 'streamOptimized' });
  const node = await disk.open('bomb');
  const stored = await testCompression.compress('zlib', new Uint8Array(2 ** 24));
  await node.write(0, new Uint8Array(131_072).fill(3));
  await node.close();
  const file = disk.files.get('bomb')!;
  // Behind the marker and the two bytes of the zlib stream's head.
  await file.write(65_536 + 8, Uint8Array.of(stored!.length & 0xff, stored!.length >> 8, 0, 0));
  await file.write(65_536 + 14, stored!.subarray(0, 400));
  const again = await disk.open('bomb');
  await assert.rejects(again.read(0, new Uint8Array(10)), /bomb: the compressed grain at 65536 cannot be unpacked/);
  const neighbour = new Uint8Array(10);
  await again.read(65_536, neighbour);
  assert.deepEqual(neighbour, new Uint8Array(10).fill(3));
});

test('vmdk: split disks have an extent for every 2 GiB', async () => {
  const disk = folder();
  await disk.create('big.vmdk', { sizeBytes: 5 * 2 ** 30, subformat: 'twoGbMaxExtentSparse' });
  assert.deepEqual([...disk.files.keys()], ['big.vmdk', 'big-s001.vmdk', 'big-s002.vmdk', 'big-s003.vmdk']);
  const node = await disk.open('big.vmdk');
  const at = 2 ** 32 - 1000;
  await node.write(at, new Uint8Array(2000).fill(9));
  const found = new Uint8Array(2002);
  await node.read(at - 1, found);
  assert.deepEqual([found[0], found[1], found[2000], found[2001]], [0, 9, 9, 0]);
  assert.equal((await node.check!('none')).corruptions, 0);
  await node.close();
});

/** An extent as ESX writes it on VMFS: grains of one sector, of which 5 and 4096 have data. */
function cowdSample(): Uint8Array {
  const bytes = new Uint8Array(80 * 512);
  const view = new DataView(bytes.buffer);
  const header = [0x44574f43, 1, 3, 5000, 1, 4, 2, 80];
  for (const [i, value] of header.entries()) view.setUint32(i * 4, value, true);
  view.setUint32(4 * 512, 8, true);
  view.setUint32(4 * 512 + 4, 40, true);
  view.setUint32(8 * 512 + 5 * 4, 72, true);
  view.setUint32(40 * 512, 73, true);
  bytes.fill(0x55, 72 * 512, 73 * 512);
  bytes.fill(0x66, 73 * 512, 74 * 512);
  return bytes;
}

test('vmdk: extents of the VMFS kind', async () => {
  const disk = folder();
  await disk.add('esx-delta.vmdk').write(0, cowdSample());
  const text = 'version=1\nCID=1\nparentCID=ffffffff\ncreateType="vmfsSparse"\nRW 5000 VMFSSPARSE "esx-delta.vmdk"\n';
  await disk.add('esx.vmdk').write(0, new TextEncoder().encode(text));
  const node = await disk.open('esx.vmdk');
  const content = new Uint8Array(5000 * 512);
  await node.read(0, content);
  const wanted = new Uint8Array(content.length);
  wanted.fill(0x55, 5 * 512, 6 * 512);
  wanted.fill(0x66, 4096 * 512, 4097 * 512);
  assert.ok(Buffer.from(content).equals(wanted));
  await node.write(7 * 512, new Uint8Array(512).fill(7));
  await node.close();
  const again = await disk.open('esx.vmdk');
  const part = new Uint8Array(3);
  await again.read(8 * 512 - 2, part);
  assert.deepEqual([...part], [7, 7, 0]);
  assert.equal((await again.check!('none')).corruptions, 0);
});

test('vmdk: a finished stream, whose tables are at its end', async () => {
  const content = sampleDisk(500 * 1024);
  const disk = folder();
  const file = disk.add('stream.vmdk');
  await file.write(0, vmdkStreamSample(content, 'stream.vmdk'));
  const node = await disk.open('stream.vmdk', { readOnly: true });
  const found = new Uint8Array(content.length);
  await node.read(0, found);
  assert.ok(Buffer.from(found).equals(content));
  assert.equal((await node.check!('none')).corruptions, 0);
  await assert.rejects(
    disk.open('stream.vmdk'),
    /a finished stream, whose tables are at its end, can only be opened read-only/,
  );
  await file.resize!(file.sizeBytes - 512);
  await assert.rejects(disk.open('stream.vmdk', { readOnly: true }), /its footer is missing; the stream was cut short/);
});
