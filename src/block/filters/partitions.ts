/** Where a disk's partitions lie: MBR with logical ones, and GPT (UEFI 2.10, chapter 5). */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { bytesOf, layout, u8, u16le, u32le, u64le } from '../layout.ts';
import { readPadded } from '../request.ts';
import type { WindowOptions } from './window.ts';

const SECTOR_BYTES = 512;
const entry = layout({ status: u8, firstChs: bytesOf(3), type: u8, lastChs: bytesOf(3), first: u32le, sectors: u32le });
const ENTRIES_OFFSET = 446;
const SIGNATURE = 0xaa55;
const PROTECTIVE = 0xee;
const EXTENDED_TYPES = [0x05, 0x0f, 0x85];
const LOGICAL_MAX = 128;

const gptHeader = layout({
  signature: u64le,
  skipped: bytesOf(64),
  entriesAt: u64le,
  entryCount: u32le,
  entryBytes: u32le,
});
const GPT_SIGNATURE_TEXT = 'EFI PART';
const GPT_ENTRIES_MAX = 1024;

interface Row {
  readonly type: number;
  readonly first: number;
  readonly sectors: number;
}

async function sector(node: BlockNode, index: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(SECTOR_BYTES);
  await readPadded(node, index * SECTOR_BYTES, bytes);
  return bytes;
}

function rowsOf(bytes: Uint8Array): Row[] {
  if (u16le.get(new DataView(bytes.buffer, bytes.byteOffset), 510) !== SIGNATURE) return [];
  return [0, 1, 2, 3].map((i) => entry.read(bytes, ENTRIES_OFFSET + i * entry.size));
}

/** The place of partition `number`, counted from 1 (logical ones from 5). @throws UserError when there is none */
export async function findPartition(node: BlockNode, number: number): Promise<WindowOptions> {
  const rows = rowsOf(await sector(node, 0));
  const found = rows.some(({ type }) => type === PROTECTIVE)
    ? await gptPartition(node, number)
    : number <= 4
      ? rows[number - 1]
      : await logicalPartition(node, rows, number - 5);
  if (found === undefined || found.type === 0 || found.sectors === 0) {
    throw new UserError(`Could not find partition ${number}`);
  }
  return { offsetBytes: found.first * SECTOR_BYTES, sizeBytes: found.sectors * SECTOR_BYTES };
}

/** Logical partitions are a chain of tables, each relative to where it lies; their links to where the chain began. */
async function logicalPartition(node: BlockNode, rows: readonly Row[], index: number): Promise<Row | undefined> {
  const extended = rows.find(({ type }) => EXTENDED_TYPES.includes(type));
  if (extended === undefined || index >= LOGICAL_MAX) return undefined;
  let at = extended.first;
  for (let i = 0; ; i += 1) {
    const [data, link] = rowsOf(await sector(node, at));
    if (data === undefined) return undefined;
    if (i === index) return { ...data, first: at + data.first };
    if (!EXTENDED_TYPES.includes(link.type)) return undefined;
    at = extended.first + link.first;
  }
}

async function gptPartition(node: BlockNode, number: number): Promise<Row | undefined> {
  const bytes = await sector(node, 1);
  if (String.fromCharCode(...bytes.subarray(0, 8)) !== GPT_SIGNATURE_TEXT) return undefined;
  const { entriesAt, entryCount, entryBytes } = gptHeader.read(bytes);
  if (number < 1 || number > Math.min(entryCount, GPT_ENTRIES_MAX) || entryBytes < 128 || entryBytes > 4096) {
    return undefined;
  }
  const row = new Uint8Array(128);
  const offset = entriesAt * SECTOR_BYTES + (number - 1) * entryBytes;
  if (!(offset < node.sizeBytes)) return undefined;
  await readPadded(node, offset, row);
  const view = new DataView(row.buffer);
  const [first, last] = [u64le.get(view, 32), u64le.get(view, 40)];
  const isUsed = row.subarray(0, 16).some((byte) => byte !== 0);
  return { type: isUsed ? 1 : 0, first, sectors: last - first + 1 };
}
