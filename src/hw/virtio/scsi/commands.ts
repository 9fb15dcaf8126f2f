/** Command blocks read and checked: SPC-4, SBC-3 and MMC-6. No I/O happens here. */
import { inquiry, UNMAP_BLOCKS_MAX } from './inquiry.ts';
import { SENSE, type Sense, senseBytes } from './sense.ts';
import { blockCount, type ScsiUnit } from './unit.ts';

/** What a command comes to. Offsets and lengths are bytes. */
export type ScsiAction =
  | { readonly kind: 'done' }
  | { readonly kind: 'flush' }
  /** Bytes to hand to the driver. */
  | { readonly kind: 'answer'; readonly data: Uint8Array }
  | {
      readonly kind: 'read' | 'write' | 'zero';
      readonly offset: number;
      readonly length: number;
      readonly unmap?: boolean;
    }
  /** Ranges to give up follow as data of at most `length` bytes. */
  | { readonly kind: 'unmap'; readonly length: number }
  /** One block follows as data; when it is zeros, the range is to be zeros. */
  | { readonly kind: 'write-same'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'failed'; readonly sense: Sense };

const failed = (sense: Sense): ScsiAction => ({ kind: 'failed', sense });
const DONE: ScsiAction = { kind: 'done' };

/** READ and WRITE by length of their command block: where the block address and the count are. */
const TRANSFERS: Readonly<Record<number, 'read' | 'write'>> = {
  ...{ 8: 'read', 40: 'read', 168: 'read', 136: 'read' },
  ...{ 10: 'write', 42: 'write', 170: 'write', 138: 'write', 46: 'write', 142: 'write' },
};
const OP = {
  testUnitReady: 0x00,
  requestSense: 0x03,
  inquiry: 0x12,
  modeSense6: 0x1a,
  startStop: 0x1b,
  preventRemoval: 0x1e,
  readCapacity10: 0x25,
  verify10: 0x2f,
  synchronizeCache10: 0x35,
  writeSame10: 0x41,
  unmap: 0x42,
  readToc: 0x43,
  getConfiguration: 0x46,
  getEventStatus: 0x4a,
  readDiscInformation: 0x51,
  modeSense10: 0x5a,
  verify16: 0x8f,
  synchronizeCache16: 0x91,
  writeSame16: 0x93,
  serviceActionIn16: 0x9e,
  reportLuns: 0xa0,
} as const;
const READ_CAPACITY_16 = 0x10;
const UNMAP_BIT = 0x08;
/** WRITE SAME without a block of data: zeros. */
const NO_DATA_OUT = 0x01;
const BYTE_CHECK = 0x06;

/** @param cdb at least 16 bytes, zeros after the command's own */
export function decodeCommand(cdb: Uint8Array, unit: ScsiUnit): ScsiAction {
  const view = new DataView(cdb.buffer, cdb.byteOffset, cdb.length);
  const transfer = TRANSFERS[cdb[0]];
  if (transfer !== undefined) return decodeTransfer(transfer, view, unit);
  switch (cdb[0]) {
    case OP.testUnitReady:
    case OP.startStop:
    case OP.preventRemoval:
      return DONE;
    case OP.requestSense:
      return answer(senseBytes(SENSE.none), cdb[4]);
    case OP.inquiry: {
      const hasPage = (cdb[1] & 1) !== 0;
      const data = !hasPage && cdb[2] !== 0 ? undefined : inquiry(unit, hasPage ? cdb[2] : undefined);
      return data ? answer(data, view.getUint16(3)) : failed(SENSE.badField);
    }
    case OP.modeSense6:
      return modeSense(unit, cdb[2] & 0x3f, 4, cdb[4]);
    case OP.modeSense10:
      return modeSense(unit, cdb[2] & 0x3f, 8, view.getUint16(7));
    case OP.readCapacity10:
      return { kind: 'answer', data: capacity10(unit) };
    case OP.serviceActionIn16:
      if ((cdb[1] & 0x1f) !== READ_CAPACITY_16) return failed(SENSE.badField);
      return answer(capacity16(unit), view.getUint32(10));
    case OP.verify10:
    case OP.verify16:
      return cdb[1] & BYTE_CHECK ? failed(SENSE.badField) : DONE;
    case OP.synchronizeCache10:
    case OP.synchronizeCache16:
      return { kind: 'flush' };
    case OP.unmap:
      if (!unit.canUnmap) return failed(unit.readOnly ? SENSE.writeProtected : SENSE.unknownCommand);
      return { kind: 'unmap', length: view.getUint16(7) };
    case OP.writeSame10:
    case OP.writeSame16:
      return unit.kind === 'disk' ? decodeWriteSame(view, unit) : failed(SENSE.unknownCommand);
    case OP.reportLuns:
      return answer(Uint8Array.of(0, 0, 0, 8, 0, 0, 0, 0, ...new Uint8Array(8)), view.getUint32(6));
    default:
      return unit.kind === 'cdrom' ? decodeCdCommand(cdb, view, unit) : failed(SENSE.unknownCommand);
  }
}

/** The answer, cut to what the driver allows. */
function answer(data: Uint8Array, allocation: number): ScsiAction {
  return { kind: 'answer', data: data.subarray(0, allocation) };
}

function decodeTransfer(kind: 'read' | 'write', view: DataView, unit: ScsiUnit): ScsiAction {
  const { address, count } = addressOf(view);
  if (kind === 'write' && unit.readOnly) return failed(SENSE.writeProtected);
  if (address + count > blockCount(unit)) return failed(SENSE.outOfRange);
  return { kind, offset: address * unit.blockBytes, length: count * unit.blockBytes };
}

/** Block address and count, by the group of the operation code (SPC-4, 4.2.5.1). */
function addressOf(view: DataView): { address: number; count: number } {
  switch (view.getUint8(0) >> 5) {
    case 0:
      return { address: view.getUint32(0) & 0x1f_ffff, count: view.getUint8(4) || 256 };
    case 1:
    case 2:
      return { address: view.getUint32(2), count: view.getUint16(7) };
    case 5:
      return { address: view.getUint32(2), count: view.getUint32(6) };
    default:
      return { address: Number(view.getBigUint64(2)), count: view.getUint32(10) };
  }
}

function decodeWriteSame(view: DataView, unit: ScsiUnit): ScsiAction {
  const { address, count } = addressOf(view);
  const flags = view.getUint8(1);
  const isLong = view.getUint8(0) === OP.writeSame16;
  if (unit.readOnly) return failed(SENSE.writeProtected);
  if (count === 0 || count > UNMAP_BLOCKS_MAX || flags & ~(UNMAP_BIT | (isLong ? NO_DATA_OUT : 0))) {
    return failed(SENSE.badField);
  }
  if (address + count > blockCount(unit)) return failed(SENSE.outOfRange);
  const range = { offset: address * unit.blockBytes, length: count * unit.blockBytes };
  const unmap = (flags & UNMAP_BIT) !== 0;
  return flags & NO_DATA_OUT ? { kind: 'zero', ...range, unmap } : { kind: 'write-same', ...range, unmap };
}

function capacity10(unit: ScsiUnit): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, Math.min(Math.max(0, blockCount(unit) - 1), 0xffff_ffff));
  view.setUint32(4, unit.blockBytes);
  return new Uint8Array(view.buffer);
}

function capacity16(unit: ScsiUnit): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, BigInt(Math.max(0, blockCount(unit) - 1)));
  view.setUint32(8, unit.blockBytes);
  if (unit.canUnmap) view.setUint8(14, 0x80); // logical block provisioning
  return new Uint8Array(view.buffer);
}

const CACHING_PAGE = 0x08;
const ALL_PAGES = 0x3f;
const WRITE_CACHE = 0x04;
const WRITE_PROTECTED = 0x80;

/** SPC-4, 6.11: a header, no block descriptors, and the caching page of disks. */
function modeSense(unit: ScsiUnit, page: number, headerBytes: 4 | 8, allocation: number): ScsiAction {
  const hasCaching = unit.kind === 'disk' && (page === CACHING_PAGE || page === ALL_PAGES);
  if (!hasCaching && page !== ALL_PAGES) return failed(SENSE.badField);
  const pages = hasCaching ? Uint8Array.of(CACHING_PAGE, 0x12, WRITE_CACHE, ...new Uint8Array(17)) : new Uint8Array();
  const data = new Uint8Array(headerBytes + pages.length);
  const protection = unit.readOnly ? WRITE_PROTECTED : 0;
  if (headerBytes === 4) data.set([data.length - 1, 0, protection, 0]);
  else data.set([0, data.length - 2, 0, protection]);
  data.set(pages, headerBytes);
  return answer(data, allocation);
}

/** What a drive is asked beside (MMC-6, 6): one data track, a disc that is always there. */
function decodeCdCommand(cdb: Uint8Array, view: DataView, unit: ScsiUnit): ScsiAction {
  const allocation = view.getUint16(7);
  switch (cdb[0]) {
    case OP.readToc: {
      const isMsf = (cdb[1] & 2) !== 0;
      const format = cdb[2] & 0x0f;
      if (format === 1) return answer(Uint8Array.of(0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0), allocation);
      if (format !== 0 || (cdb[6] > 1 && cdb[6] !== 0xaa)) return failed(SENSE.badField);
      const tracks = [...(cdb[6] <= 1 ? track(1, 0, isMsf) : []), ...track(0xaa, blockCount(unit), isMsf)];
      return answer(Uint8Array.of(0, tracks.length + 2, 1, 1, ...tracks), allocation);
    }
    case OP.getConfiguration: // current profile: CD-ROM
      return answer(Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 8), allocation);
    case OP.getEventStatus: // media: present, nothing new
      if (!(cdb[1] & 1)) return failed(SENSE.badField);
      return answer(Uint8Array.of(0, 6, 0x04, 0x10, 0, 0x02, 0, 0), allocation);
    case OP.readDiscInformation: // complete, one session, tracks 1 to 1
      return answer(Uint8Array.of(0, 32, 0x0e, 1, 1, 1, 1, ...new Uint8Array(27)), allocation);
    default:
      return failed(SENSE.unknownCommand);
  }
}

const FRAMES_PER_SECOND = 75;
/** Addresses in minutes begin two seconds before the first block. */
const LEAD_IN_FRAMES = 150;

function track(number: number, block: number, isMsf: boolean): number[] {
  const view = new DataView(new ArrayBuffer(4));
  if (isMsf) {
    const frames = block + LEAD_IN_FRAMES;
    const seconds = Math.floor(frames / FRAMES_PER_SECOND);
    view.setUint8(1, Math.floor(seconds / 60));
    view.setUint8(2, seconds % 60);
    view.setUint8(3, frames % FRAMES_PER_SECOND);
  } else view.setUint32(0, block);
  return [0, 0x14, number, 0, ...new Uint8Array(view.buffer)];
}
