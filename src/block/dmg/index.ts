/** Apple's disk images (UDIF), for reading: raw, zero, zlib and ADC chunks. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Compression } from '../compression.ts';
import type { Format, ImageNode, OpenOptions } from '../format.ts';
import { mappedNode, type Run } from '../mapped.ts';
import { decodeUtf8 } from '../text.ts';
import { unpackZlib } from '../zlib.ts';
import { unpackAdc } from './adc.ts';
import { CHUNK, chunkLayout, TABLE_SIGNATURE, TRAILER_SIGNATURE, tableLayout, trailerLayout } from './layout.ts';

const SECTOR_BYTES = 512;
const LIMITS = { listBytes: 2 ** 25, chunks: 2 ** 21, chunkBytes: 2 ** 26, sectors: 2 ** 40 } as const;
/** Chunks that are refused, by what they would need. */
const UNSUPPORTED: Readonly<Record<number, string>> = {
  [CHUNK.bzip2]: 'bzip2',
  [CHUNK.lzfse]: 'LZFSE',
  [CHUNK.lzma]: 'LZMA',
};

export const dmg: Format = {
  name: 'dmg',
  createOptions: [],
  probe: (_, name) => (/\.dmg$/i.test(name) ? 2 : 0),
  open: openDmg,
};

interface Chunk {
  readonly type: number;
  /** On the disk, in bytes. */
  readonly start: number;
  readonly sizeBytes: number;
  readonly at: number;
  readonly length: number;
}

async function openDmg(file: BlockNode, { name, compression }: OpenOptions): Promise<ImageNode> {
  const chunks = await readChunks(file, name);
  const last = chunks.at(-1);
  return mappedNode({
    format: 'dmg',
    name,
    sizeBytes: last === undefined ? 0 : last.start + last.sizeBytes,
    readOnly: true,
    preferredBytes: 2 ** 18,
    info: () => ({}),
    map: {
      unitBytes: SECTOR_BYTES,
      lookup: (offset, length) => lookup({ file, name, compression, chunks }, offset, length),
    },
    files: [file],
  });
}

function bad(name: string, what: string): never {
  throw new UserError(`${name}: not a usable dmg image: ${what}`);
}

/** All chunks, by their place on the disk. */
async function readChunks(file: BlockNode, name: string): Promise<Chunk[]> {
  if (file.sizeBytes < trailerLayout.size) bad(name, 'it is too short');
  const end = new Uint8Array(trailerLayout.size);
  await file.read(file.sizeBytes - end.length, end);
  const { signature, dataOffset, listOffset, listBytes, segments } = trailerLayout.read(end);
  if (signature !== TRAILER_SIGNATURE) bad(name, 'it does not end with a trailer ("koly")');
  if (segments > 1) bad(name, `it is one of ${segments} segments; images of one are supported`);
  if (listBytes === 0) bad(name, 'it has no property list; older images with a resource fork are not supported');
  if (listBytes > LIMITS.listBytes || listOffset + listBytes > file.sizeBytes)
    bad(name, `its property list of ${listBytes} bytes at ${listOffset} is not inside the file, or larger than 32 MiB`);
  const list = new Uint8Array(listBytes);
  await file.read(listOffset, list);
  const chunks: Chunk[] = [];
  for (const table of tablesIn(decodeUtf8(list)))
    chunks.push(...chunksOf(table, dataOffset, file, name, chunks.length));
  chunks.sort((a, b) => a.start - b.start);
  for (let i = 1; i < chunks.length; i += 1) {
    if (chunks[i - 1].start + chunks[i - 1].sizeBytes > chunks[i].start)
      bad(name, `two of its chunks overlap at sector ${chunks[i].start / SECTOR_BYTES}`);
  }
  return chunks;
}

/** The tables in a property list: what stands in base 64 as the data of its partitions. */
function tablesIn(list: string): Uint8Array[] {
  const from = list.indexOf('<key>blkx</key>');
  const part = from < 0 ? '' : list.slice(from, list.indexOf('</array>', from));
  return [...part.matchAll(/<data>([A-Za-z0-9+/=\s]*)<\/data>/g)].map((match) => decodeBase64(match[1]));
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

function decodeBase64(text: string): Uint8Array {
  const digits = text.replace(/[\s=]/g, '');
  const bytes = new Uint8Array(Math.floor((digits.length * 3) / 4));
  let value = 0;
  let bits = 0;
  let done = 0;
  for (const digit of digits) {
    value = ((value << 6) | BASE64.indexOf(digit)) & 0xffffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[done++] = value >> bits;
  }
  return bytes;
}

function chunksOf(table: Uint8Array, dataOffset: number, file: BlockNode, name: string, before: number): Chunk[] {
  if (table.length < tableLayout.size) bad(name, 'a table of chunks is too short');
  const { signature, firstSector, chunks: count, dataOffset: tableOffset } = tableLayout.read(table);
  if (signature !== TABLE_SIGNATURE) bad(name, 'a table of chunks does not begin as such ("mish")');
  if (before + count > LIMITS.chunks) bad(name, `it has more than ${LIMITS.chunks} chunks`);
  if (tableLayout.size + count * chunkLayout.size > table.length)
    bad(name, `a table is too short for its ${count} chunks`);
  const chunks: Chunk[] = [];
  for (let i = 0; i < count; i += 1) {
    const {
      type,
      firstSector: sector,
      sectors,
      offset,
      length,
    } = chunkLayout.read(table, tableLayout.size + i * chunkLayout.size);
    if (type === CHUNK.comment || type === CHUNK.end || sectors === 0) continue;
    if (firstSector + sector + sectors > LIMITS.sectors)
      bad(name, `chunk ${i} has ${sectors} sectors from ${firstSector + sector} on`);
    const at = dataOffset + tableOffset + offset;
    const isStored = type !== CHUNK.zero && type !== CHUNK.ignored;
    if (isStored && at + length > file.sizeBytes)
      bad(name, `chunk ${i} of ${length} bytes at ${at} is not inside the file`);
    if (type === CHUNK.raw && length < sectors * SECTOR_BYTES)
      bad(name, `chunk ${i} has ${length} bytes for ${sectors} sectors`);
    if (isStored && type !== CHUNK.raw && (sectors * SECTOR_BYTES > LIMITS.chunkBytes || length > LIMITS.chunkBytes))
      bad(
        name,
        `chunk ${i} has ${sectors} sectors in ${length} bytes; compressed chunks of up to 64 MiB are supported`,
      );
    if (UNSUPPORTED[type] !== undefined)
      bad(name, `it is compressed with ${UNSUPPORTED[type]}, which is not supported; zlib and ADC are`);
    const known: readonly number[] = [CHUNK.zero, CHUNK.raw, CHUNK.ignored, CHUNK.zlib, CHUNK.adc];
    if (!known.includes(type)) bad(name, `chunk ${i} is of the unknown type 0x${type.toString(16)}`);
    chunks.push({ type, start: (firstSector + sector) * SECTOR_BYTES, sizeBytes: sectors * SECTOR_BYTES, at, length });
  }
  return chunks;
}

interface State {
  readonly file: BlockNode;
  readonly name: string;
  readonly compression: Compression | undefined;
  readonly chunks: readonly Chunk[];
}

function lookup(state: State, offset: number, length: number): Run {
  const { chunks, file } = state;
  let [low, high] = [0, chunks.length];
  // The first chunk that ends behind the offset.
  while (low < high) {
    const middle = (low + high) >> 1;
    if (chunks[middle].start + chunks[middle].sizeBytes <= offset) low = middle + 1;
    else high = middle;
  }
  const chunk = chunks[low];
  if (offset < chunk.start) return { kind: 'zero', length: Math.min(length, chunk.start - offset) };
  const n = Math.min(length, chunk.start + chunk.sizeBytes - offset);
  if (chunk.type === CHUNK.raw) return { kind: 'data', length: n, file, at: chunk.at + offset - chunk.start };
  if (chunk.type === CHUNK.zero || chunk.type === CHUNK.ignored) return { kind: 'zero', length: n };
  return { kind: 'packed', length: n, start: chunk.start, unpack: () => unpack(state, chunk) };
}

async function unpack({ file, name, compression }: State, chunk: Chunk): Promise<Uint8Array> {
  const packed = new Uint8Array(chunk.length);
  await file.read(chunk.at, packed);
  const target = new Uint8Array(chunk.sizeBytes);
  try {
    if (chunk.type === CHUNK.adc) unpackAdc(packed, target);
    else if (compression === undefined) throw new Error('no decompressor was given');
    else await unpackZlib(compression, packed, target);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new IoError('io', `${name}: the chunk at ${chunk.at} cannot be unpacked: ${reason}`);
  }
  return target;
}
