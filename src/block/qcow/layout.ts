/** The first qcow format (QEMU, block/qcow.c and its documentation of 2004), big-endian. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { type LayoutOf, layout, u8, u16be, u32be, u64be } from '../layout.ts';
import { readPadded } from '../request.ts';
import { decodeUtf8 } from '../text.ts';

export const headerLayout = layout({
  magic: u32be,
  version: u32be,
  backingOffset: u64be,
  backingBytes: u32be,
  modified: u32be,
  diskBytes: u64be,
  clusterBits: u8,
  l2Bits: u8,
  padding: u16be,
  cryptMethod: u32be,
  l1Offset: u64be,
});
export type QcowHeader = LayoutOf<typeof headerLayout>;

export const MAGIC = 0x514649fb;
export const VERSION = 1;
export const CRYPT = { none: 0, aes: 1 } as const;
export const LIMITS = {
  clusterBits: { min: 9, max: 16 },
  l2Bits: { min: 6, max: 13 },
  backingBytes: 1023,
  l1Entries: 2 ** 22,
} as const;

export function isQcow(head: Uint8Array): boolean {
  if (head.length < 8) return false;
  const { magic, version } = layout({ magic: u32be, version: u32be }).read(head);
  return magic === MAGIC && version === VERSION;
}

export interface ReadHeader {
  readonly header: QcowHeader;
  readonly l1Entries: number;
  readonly backingFile?: string;
}

export function l1EntriesFor({ diskBytes, clusterBits, l2Bits }: QcowHeader): number {
  return Math.ceil(diskBytes / 2 ** (clusterBits + l2Bits));
}

/** Reads and checks the header. @throws UserError that names the field */
export async function readHeader(file: BlockNode, name: string): Promise<ReadHeader> {
  const bytes = new Uint8Array(headerLayout.size);
  await readPadded(file, 0, bytes);
  const header = headerLayout.read(bytes);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable qcow image: ${what}`);
  };
  const { clusterBits, l2Bits, diskBytes, cryptMethod, l1Offset, backingOffset, backingBytes } = header;
  require(header.magic === MAGIC, 'its magic number is wrong');
  require(header.version === VERSION, `its version is ${header.version}; 1 is known (2 and 3 are qcow2)`);
  const isIn = (value: number, { min, max }: { min: number; max: number }) => value >= min && value <= max;
  require(isIn(clusterBits, LIMITS.clusterBits), `cluster_bits is ${clusterBits}; 9 to 16 are allowed`);
  require(isIn(l2Bits, LIMITS.l2Bits), `l2_bits is ${l2Bits}; 6 to 13 are allowed`);
  require(diskBytes >= 2 && diskBytes <= 2 ** 52, `its disk has ${diskBytes} bytes; 2 to 2^52 are allowed`);
  const l1Entries = l1EntriesFor(header);
  require(l1Entries <=
    LIMITS.l1Entries, `its L1 table has ${l1Entries} entries; at most ${LIMITS.l1Entries} are supported`);
  require(l1Offset >= headerLayout.size &&
    l1Offset + l1Entries * 8 <= file.sizeBytes, 'its L1 table is not inside the file');
  require(cryptMethod === CRYPT.none ||
    cryptMethod === CRYPT.aes, `encryption method ${cryptMethod}; 0 and 1 are known`);
  if (backingOffset === 0) return { header, l1Entries };
  require(backingBytes <=
    LIMITS.backingBytes, `the name of its backing file has ${backingBytes} bytes; at most 1023 are allowed`);
  require(backingOffset + backingBytes <= file.sizeBytes, 'the name of its backing file is not inside the file');
  const text = new Uint8Array(backingBytes);
  await file.read(backingOffset, text);
  return { header, l1Entries, backingFile: decodeUtf8(text) };
}
