/** Logs as [MS-VHDX] 2.3 describes them: several entries, round the end, torn, of an earlier session. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { joinBytes, u64le, viewOf } from '../layout.ts';
import { memoryNode } from '../memory.ts';
import { createVhdx, vhdx } from './index.ts';
import {
  dataSectorLayout,
  descriptorLayout,
  HEADER_OFFSETS,
  headerLayout,
  logEntryLayout,
  MIB,
  SECTOR_BYTES,
  SIGNATURE,
  seal,
} from './layout.ts';

const GUID = new Uint8Array(16).fill(7);
/** Where the entries below write: the first block's data. */
const DATA_OFFSET = 4 * MIB;

interface Entry {
  /** In the log, in sectors. */
  readonly at: number;
  readonly tail: number;
  readonly sequence: number;
  /** The byte that the entry fills a sector with, and which sector; 0 is a zero descriptor. */
  readonly fill: readonly (readonly [sector: number, byte: number])[];
  readonly guid?: Uint8Array;
  readonly isTorn?: boolean;
}

/** An image with one block, all bytes 1, and a log with `entries`. */
async function imageWith(entries: readonly Entry[]): Promise<BlockNode> {
  const file = memoryNode(0);
  await createVhdx(file, { sizeBytes: MIB, blockBytes: MIB, isFixed: true });
  await file.write(DATA_OFFSET, new Uint8Array(MIB).fill(1));
  for (const offset of HEADER_OFFSETS) {
    const bytes = new Uint8Array(headerLayout.size);
    await file.read(offset, bytes);
    await file.write(offset, seal(headerLayout.write({ ...headerLayout.read(bytes), logGuid: GUID })));
  }
  for (const entry of entries) {
    const bytes = encode(entry, file.sizeBytes);
    const at = entry.at * SECTOR_BYTES;
    const first = Math.min(bytes.length, MIB - at);
    await file.write(MIB + at, bytes.subarray(0, first));
    await file.write(MIB, bytes.subarray(first));
  }
  return file;
}

function encode({ tail, sequence, fill, guid = GUID, isTorn = false }: Entry, fileBytes: number): Uint8Array {
  const data = fill.filter(([, byte]) => byte !== 0);
  const head = logEntryLayout.write({
    signature: SIGNATURE.logEntry,
    checksum: 0,
    length: SECTOR_BYTES * (1 + data.length),
    tail: tail * SECTOR_BYTES,
    sequence,
    descriptors: fill.length,
    reserved: 0,
    logGuid: guid,
    flushedBytes: fileBytes,
    lastBytes: fileBytes,
  });
  const length = new Uint8Array(8);
  u64le.put(viewOf(length), 0, SECTOR_BYTES);
  const descriptors = fill.map(([sector, byte]) =>
    descriptorLayout.write({
      signature: byte === 0 ? SIGNATURE.zero : SIGNATURE.data,
      trailing: new Uint8Array(4).fill(byte),
      leading: byte === 0 ? length : new Uint8Array(8).fill(byte),
      offset: DATA_OFFSET + sector * SECTOR_BYTES,
      sequence,
    }),
  );
  const sectors = data.map(([, byte]) => {
    const content = { data: new Uint8Array(4084).fill(byte), sequenceHigh: 0, sequenceLow: sequence };
    return dataSectorLayout.write({ signature: SIGNATURE.sector, ...content });
  });
  const bytes = seal(joinBytes([joinBytes([head, ...descriptors], SECTOR_BYTES), ...sectors]));
  if (isTorn) bytes.fill(0xff, bytes.length - 512);
  return bytes;
}

/** The first byte of each of the first sectors, as the disk has them. */
async function sectorsOf(file: BlockNode, readOnly: boolean): Promise<number[]> {
  const node = await vhdx.open(file, { name: 'image', readOnly });
  const content = new Uint8Array(4 * SECTOR_BYTES);
  await node.read(0, content);
  if (!readOnly) await node.close();
  return [0, 1, 2, 3].map((sector) => content[sector * SECTOR_BYTES + 100]);
}

const one: Entry = { at: 10, tail: 10, sequence: 5, fill: [[0, 2]] };
const two: Entry = {
  at: 12,
  tail: 10,
  sequence: 6,
  fill: [
    [1, 3],
    [0, 4],
  ],
};
const three: Entry = { at: 15, tail: 12, sequence: 7, fill: [[2, 0]] };

const CASES: readonly {
  readonly what: string;
  readonly entries: readonly Entry[];
  readonly found: readonly number[];
}[] = [
  { what: 'no entry', entries: [], found: [1, 1, 1, 1] },
  { what: 'one entry', entries: [one], found: [2, 1, 1, 1] },
  { what: 'entries apply in order', entries: [one, two], found: [4, 3, 1, 1] },
  { what: 'entries before the tail were applied earlier', entries: [one, { ...two, tail: 12 }], found: [4, 3, 1, 1] },
  { what: 'zeros', entries: [one, two, three], found: [4, 3, 0, 1] },
  { what: 'a torn last entry does not count', entries: [one, two, { ...three, isTorn: true }], found: [4, 3, 1, 1] },
  { what: 'a tail that is torn makes the rest useless', entries: [{ ...one, isTorn: true }, two], found: [1, 1, 1, 1] },
  { what: 'another session', entries: [{ ...one, guid: new Uint8Array(16).fill(8) }], found: [1, 1, 1, 1] },
  { what: 'a gap in the numbers', entries: [one, { ...two, sequence: 8, tail: 12 }], found: [4, 3, 1, 1] },
  { what: 'the newer of two runs', entries: [one, { ...three, at: 40, tail: 40 }], found: [1, 1, 0, 1] },
  {
    what: 'round the end',
    entries: [
      { ...one, at: 253, tail: 253 },
      { ...two, at: 255, tail: 253 },
      { ...three, at: 2, tail: 253 },
    ],
    found: [4, 3, 0, 1],
  },
];

for (const { what, entries, found } of CASES) {
  test(`vhdx log: ${what}`, async () => {
    const file = await imageWith(entries);
    assert.deepEqual(await sectorsOf(file, true), found, 'read-only, in memory');
    assert.deepEqual(await sectorsOf(file, false), found, 'applied');
    assert.deepEqual(await sectorsOf(file, true), found, 'and closed');
  });
}

test('vhdx log: what would be written beyond the file is refused', async () => {
  const file = await imageWith([{ ...one, fill: [[2 ** 30, 2]] }]);
  await assert.rejects(
    vhdx.open(file, { name: 'image' }),
    /image: not a usable VHDX image: its log tells of 4096 bytes at/,
  );
});

test('vhdx log: a file that was cut is refused', async () => {
  const file = await imageWith([one]);
  await file.resize!(DATA_OFFSET + MIB / 2);
  await assert.rejects(vhdx.open(file, { name: 'image' }), /image: the file was cut/);
});
