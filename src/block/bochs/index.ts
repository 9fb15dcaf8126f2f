/** Growing disks of Bochs, for reading (Bochs, iodev/hdimage: redolog), little-endian. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Format, ImageNode, OpenOptions } from '../format.ts';
import { bytesOf, layout, u32le, u64le, viewOf } from '../layout.ts';
import { checkPlace, mappedNode, type Run } from '../mapped.ts';
import { metadataCache } from '../qcow2/metadata-cache.ts';
import { readPadded } from '../request.ts';
import { decodeUtf8 } from '../text.ts';

const headerLayout = layout({
  magic: bytesOf(32),
  type: bytesOf(16),
  subtype: bytesOf(16),
  version: u32le,
  headerBytes: u32le,
  extents: u32le,
  bitmapBytes: u32le,
  extentBytes: u32le,
  /** Version 2 has 4 bytes of time before the size of the disk, version 1 has not. */
  rest: bytesOf(12),
});

const MAGIC = 'Bochs Virtual HD Image';
const TYPE = { type: 'Redolog', subtype: 'Growing' } as const;
const VERSION = { one: 0x10000, two: 0x20000 } as const;
const SECTOR_BYTES = 512;
const NO_PLACE = 0xffffffff;
const LIMITS = { extents: 2 ** 22, extentBytes: 2 ** 23 } as const;
const CACHE_BYTES = 2 ** 22;

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeUtf8(bytes.subarray(0, end < 0 ? bytes.length : end));
}

export const bochs: Format = {
  name: 'bochs',
  createOptions: [],
  probe(head) {
    if (head.length < headerLayout.size) return 0;
    const { magic, type, subtype } = headerLayout.read(head);
    return textOf(magic) === MAGIC && textOf(type) === TYPE.type && textOf(subtype) === TYPE.subtype ? 100 : 0;
  },
  open: openBochs,
};

async function openBochs(file: BlockNode, { name }: OpenOptions): Promise<ImageNode> {
  const bytes = new Uint8Array(headerLayout.size);
  await readPadded(file, 0, bytes);
  const header = headerLayout.read(bytes);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable Bochs image: ${what}`);
  };
  const { version, headerBytes, extents, bitmapBytes, extentBytes, rest } = header;
  require(bochs.probe(bytes, name) > 0, 'it does not begin as a growing disk of Bochs does');
  const isVersionTwo = version === VERSION.two;
  require(isVersionTwo ||
    version === VERSION.one, `its version is 0x${version.toString(16)}; 0x10000 and 0x20000 are known`);
  const sizeBytes = u64le.get(viewOf(rest), isVersionTwo ? 4 : 0);
  require(extents <= LIMITS.extents, `its catalog has ${extents} entries; at most ${LIMITS.extents} are supported`);
  require(headerBytes >= headerLayout.size &&
    headerBytes + extents * 4 <= file.sizeBytes, 'its catalog is not inside the file');
  require(extentBytes >= SECTOR_BYTES &&
    extentBytes <= LIMITS.extentBytes &&
    extentBytes % SECTOR_BYTES ===
      0, `its extents have ${extentBytes} bytes; whole sectors up to ${LIMITS.extentBytes} bytes are supported`);
  const sectors = extentBytes / SECTOR_BYTES;
  require(bitmapBytes * 8 >= sectors &&
    bitmapBytes <= LIMITS.extentBytes, `its bitmaps of ${bitmapBytes} bytes do not fit its extents`);
  require(sizeBytes <= extents * extentBytes, `its disk of ${sizeBytes} bytes is larger than its ${extents} extents`);
  const catalog = new Uint8Array(extents * 4);
  await file.read(headerBytes, catalog);
  const bitmapSectors = Math.ceil(bitmapBytes / SECTOR_BYTES);
  const bitmapPage = bitmapSectors * SECTOR_BYTES;
  const bitmaps = metadataCache(file, bitmapPage, Math.max(1, Math.floor(CACHE_BYTES / bitmapPage)));
  const dataOffset = headerBytes + catalog.length;

  const lookup = async (offset: number, length: number): Promise<Run> => {
    const index = Math.floor(offset / extentBytes);
    const from = offset - index * extentBytes;
    const n = Math.min(length, extentBytes - from);
    const entry = u32le.get(viewOf(catalog), index * 4);
    if (entry === NO_PLACE) return { kind: 'hole', length: n };
    const start = dataOffset + entry * (bitmapSectors + sectors) * SECTOR_BYTES;
    checkPlace(name, `extent ${index}`, start, dataOffset, file.sizeBytes);
    const { bytes: bitmap } = await bitmaps.get(start);
    const hasBit = (sector: number) => (bitmap[sector >> 3] & (1 << (sector & 7))) !== 0;
    const first = Math.floor(from / SECTOR_BYTES);
    let last = first + 1;
    while (last * SECTOR_BYTES < from + n && hasBit(last) === hasBit(first)) last += 1;
    const run = Math.min(n, last * SECTOR_BYTES - from);
    if (!hasBit(first)) return { kind: 'hole', length: run };
    return { kind: 'data', length: run, file, at: start + bitmapPage + from };
  };
  return mappedNode({
    format: 'bochs',
    name,
    sizeBytes: sizeBytes - (sizeBytes % SECTOR_BYTES),
    readOnly: true,
    preferredBytes: extentBytes,
    info: () => ({}),
    map: { unitBytes: SECTOR_BYTES, lookup },
    files: [file],
  });
}
