/** What a driver asks of a disk, read from its buffers and checked: VIRTIO 1.2, section 5.2.6. No I/O happens here. */
import type { Chain } from '../chain.ts';
import { layout } from '../layout.ts';

export const SECTOR_BYTES = 512;
/** virtio_blk_req.type. */
export const REQUEST_TYPE = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
export const BLK_STATUS = { ok: 0, ioError: 1, unsupported: 2 } as const;
/** Ranges of one discard or write-zeroes request, at most. */
export const RANGES_MAX = 16;
export const ID_BYTES = 20;

const HEADER = layout({ type: 'u32', reserved: 'u32', sector: 'u64' });
const RANGE = layout({ sector: 'u64', sectors: 'u32', flags: 'u32' });
const RANGE_UNMAP = 1;

export interface BlkRange {
  /** In bytes. */
  readonly offset: number;
  readonly length: number;
  readonly mayUnmap: boolean;
}

export type BlkRequest =
  | { readonly kind: 'read' | 'write'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' | 'id' }
  | { readonly kind: 'discard' | 'write-zeroes'; readonly ranges: readonly BlkRange[] }
  /** Already answered: only the status is to be written. */
  | { readonly kind: 'refused'; readonly status: number };

/** What the disk lets a driver do. */
export interface BlkRules {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canDiscard: boolean;
  /** Of one range, in bytes. */
  readonly rangeBytesMax: number;
}

const IO_ERROR: BlkRequest = { kind: 'refused', status: BLK_STATUS.ioError };
const UNSUPPORTED: BlkRequest = { kind: 'refused', status: BLK_STATUS.unsupported };

/** Returns text when the buffers have no room for a header or a status: then nothing can be answered. */
export function parseRequest(chain: Chain, rules: BlkRules): BlkRequest | string {
  const bytes = new Uint8Array(HEADER.length);
  if (chain.read(0, bytes) < HEADER.length) return `a request of ${chain.readableBytes} bytes, without its header`;
  if (chain.writableBytes === 0) return 'a request without room for its status';
  const { type, sector } = HEADER.decode(bytes);
  const offset = sector * SECTOR_BYTES;
  const sent = chain.readableBytes - HEADER.length;
  const room = chain.writableBytes - 1;
  switch (type) {
    case REQUEST_TYPE.in:
      return isInside(offset, room, rules) ? { kind: 'read', offset, length: room } : IO_ERROR;
    case REQUEST_TYPE.out:
      if (rules.readOnly || !isInside(offset, sent, rules)) return IO_ERROR;
      return { kind: 'write', offset, length: sent };
    case REQUEST_TYPE.flush:
      return { kind: 'flush' };
    case REQUEST_TYPE.getId:
      return room < ID_BYTES ? IO_ERROR : { kind: 'id' };
    case REQUEST_TYPE.discard:
      return rules.canDiscard ? parseRanges('discard', chain, sent, rules) : UNSUPPORTED;
    case REQUEST_TYPE.writeZeroes:
      return parseRanges('write-zeroes', chain, sent, rules);
    default:
      return UNSUPPORTED;
  }
}

function parseRanges(kind: 'discard' | 'write-zeroes', chain: Chain, length: number, rules: BlkRules): BlkRequest {
  const count = length / RANGE.length;
  if (rules.readOnly || !Number.isInteger(count) || count < 1 || count > RANGES_MAX) return IO_ERROR;
  const ranges: BlkRange[] = [];
  const bytes = new Uint8Array(RANGE.length);
  for (let index = 0; index < count; index++) {
    chain.read(HEADER.length + index * RANGE.length, bytes);
    const { sector, sectors, flags } = RANGE.decode(bytes);
    if (flags & ~(kind === 'discard' ? 0 : RANGE_UNMAP)) return UNSUPPORTED; // 5.2.6.2
    const range = { offset: sector * SECTOR_BYTES, length: sectors * SECTOR_BYTES, mayUnmap: flags !== 0 };
    if (range.length > rules.rangeBytesMax || !isInside(range.offset, range.length, rules)) return IO_ERROR;
    ranges.push(range);
  }
  return { kind, ranges };
}

function isInside(offset: number, length: number, { sizeBytes }: BlkRules): boolean {
  return length % SECTOR_BYTES === 0 && offset + length <= sizeBytes;
}
