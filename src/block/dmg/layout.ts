/** Apple's disk images (UDIF), big-endian: a trailer, a property list with tables of chunks in it. */
import { bytesOf, layout, u32be, u64be } from '../layout.ts';

/** The last 512 bytes of the file. */
export const trailerLayout = layout({
  signature: u32be,
  version: u32be,
  headerBytes: u32be,
  flags: u32be,
  runningOffset: u64be,
  dataOffset: u64be,
  dataBytes: u64be,
  resourceOffset: u64be,
  resourceBytes: u64be,
  segment: u32be,
  segments: u32be,
  segmentId: bytesOf(16),
  dataChecksum: bytesOf(136),
  listOffset: u64be,
  listBytes: u64be,
  reserved: bytesOf(120),
  checksum: bytesOf(136),
  variant: u32be,
  sectors: u64be,
  rest: bytesOf(12),
});
export const TRAILER_SIGNATURE = 0x6b6f6c79;

/** One partition's table. */
export const tableLayout = layout({
  signature: u32be,
  version: u32be,
  firstSector: u64be,
  sectors: u64be,
  dataOffset: u64be,
  buffers: u32be,
  descriptor: u32be,
  reserved: bytesOf(24),
  checksum: bytesOf(136),
  chunks: u32be,
});
export const TABLE_SIGNATURE = 0x6d697368;

export const chunkLayout = layout({
  type: u32be,
  comment: u32be,
  firstSector: u64be,
  sectors: u64be,
  offset: u64be,
  length: u64be,
});
export const CHUNK = {
  zero: 0,
  raw: 1,
  ignored: 2,
  comment: 0x7ffffffe,
  adc: 0x80000004,
  zlib: 0x80000005,
  bzip2: 0x80000006,
  lzfse: 0x80000007,
  lzma: 0x80000008,
  end: 0xffffffff,
} as const;
