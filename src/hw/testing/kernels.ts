/** Tiny kernels made by hand, one a boot protocol, and guest RAM to load them into: used by tests. */
import type { GuestMemory } from '../../contract/index.ts';
import { ramRegions } from '../board/memory-map.ts';

const MIB = 1024 * 1024;

/** Guest RAM of the PC's layout; the buffer reserves its size but only touched pages cost anything. */
export function testMemory(sizeBytes: number): GuestMemory {
  const buffer = new SharedArrayBuffer(sizeBytes);
  let offset = 0;
  const ranges = ramRegions(sizeBytes).map(({ base, size }) => {
    const range = { base, size, offset };
    offset += size;
    return range;
  });
  return {
    buffer,
    ranges,
    size: sizeBytes,
    view(base, length) {
      const range = ranges.find((one) => base >= one.base && base + length <= one.base + one.size);
      return range && new Uint8Array(buffer, range.offset + base - range.base, length);
    },
    written() {},
  };
}

/** A DataView of guest RAM from `base` on. */
export function memoryView(memory: GuestMemory, base: number, length: number): DataView {
  const bytes = memory.view(base, length);
  if (bytes === undefined) throw new RangeError(`no RAM at 0x${base.toString(16)}`);
  return new DataView(bytes.buffer, bytes.byteOffset, length);
}

export interface BzImageFields {
  readonly version?: number;
  readonly xloadflags?: number;
  readonly preferredAddress?: number;
  readonly initSize?: number;
  readonly initrdAddressMax?: number;
  readonly commandLineSize?: number;
}

/** A bzImage whose 64-bit entry point holds `code`. */
export function bzImage(code: Uint8Array, fields: BzImageFields = {}): Uint8Array {
  const SETUP_SECTORS = 1;
  const setupBytes = (SETUP_SECTORS + 1) * 512;
  const system = Math.ceil((0x200 + code.length) / 16) * 16;
  const file = new Uint8Array(setupBytes + system);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, SETUP_SECTORS);
  view.setUint32(0x1f4, system / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x200, 0xeb);
  view.setUint8(0x201, 0x6a);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, fields.version ?? 0x20f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, fields.initrdAddressMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, fields.xloadflags ?? 1, true);
  view.setUint32(0x238, fields.commandLineSize ?? 2047, true);
  view.setBigUint64(0x258, BigInt(fields.preferredAddress ?? 2 * MIB), true);
  view.setUint32(0x260, fields.initSize ?? MIB, true);
  file.set(code, setupBytes + 0x200);
  return file;
}

export interface ElfFields {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly base?: number;
  readonly entry?: number;
  /** Zeroed memory behind the content. */
  readonly bssBytes?: number;
  /** The PVH entry point; no note without it. */
  readonly pvhEntry?: number;
}

/** An ELF executable with one segment that holds `content`, and a note segment when it is PVH. */
export function elfFile(content: Uint8Array, fields: ElfFields = {}): Uint8Array {
  const { bits = 64, machine = bits === 64 ? 62 : 3, base = 2 * MIB, entry = base, bssBytes = 0, pvhEntry } = fields;
  const wide = bits === 64;
  const [headerSize, segmentSize] = wide ? [64, 56] : [52, 32];
  const note = pvhEntry === undefined ? undefined : xenNote(18, pvhEntry);
  const segments = note === undefined ? 1 : 2;
  const contentAt = headerSize + segments * segmentSize;
  const noteAt = contentAt + Math.ceil(content.length / 4) * 4;
  const file = new Uint8Array(noteAt + (note?.length ?? 0));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  const word = (at: number, value: number) =>
    wide ? view.setBigUint64(at, BigInt(value), true) : view.setUint32(at, value, true);
  word(24, entry);
  word(wide ? 32 : 28, headerSize);
  view.setUint16(wide ? 54 : 42, segmentSize, true);
  view.setUint16(wide ? 56 : 44, segments, true);
  const segment = (index: number, type: number, offset: number, fileSize: number, memorySize: number) => {
    const at = headerSize + index * segmentSize;
    view.setUint32(at, type, true);
    const fieldsAt = wide ? [8, 24, 32, 40] : [4, 12, 16, 20];
    for (const [field, value] of [offset, base, fileSize, memorySize].entries()) word(at + fieldsAt[field], value);
  };
  segment(0, 1, contentAt, content.length, content.length + bssBytes);
  file.set(content, contentAt);
  if (note !== undefined) {
    segment(1, 4, noteAt, note.length, note.length);
    file.set(note, noteAt);
  }
  return file;
}

function xenNote(type: number, value: number): Uint8Array {
  const note = new Uint8Array(24);
  const view = new DataView(note.buffer);
  view.setUint32(0, 4, true);
  view.setUint32(4, 8, true);
  view.setUint32(8, type, true);
  note.set([0x58, 0x65, 0x6e, 0], 12); // 'Xen'
  view.setUint32(16, value, true);
  return note;
}

/** A multiboot header with its checksum; `addresses` are the five address fields. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const MAGIC = 0x1bad_b002;
  const words = [MAGIC, flags, -(MAGIC + flags) >>> 0, ...addresses];
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, word] of words.entries()) view.setUint32(index * 4, word, true);
  return bytes;
}
