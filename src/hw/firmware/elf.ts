/** ELF executables as a boot loader sees them: segments and notes (System V gABI, chapters 4 and 5). */
import { UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { viewOf } from './bytes.ts';
import { HIGH_MEMORY_BASE } from './layout.ts';
import { checkKernelFits, putBytes, putZeroes } from './load.ts';

/** A loadable piece; addresses and sizes in bytes. */
export interface ElfSegment {
  readonly physical: number;
  readonly content: Uint8Array;
  /** At least `content.length`; the rest is zero. */
  readonly memorySize: number;
}

export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly content: Uint8Array;
}

export interface ElfFile {
  readonly bits: 32 | 64;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
}

const SEGMENT_TYPE = { load: 1, note: 4 } as const;
const MACHINE = { i386: 3, x86_64: 62 } as const;
const HEADERS_MAX = 128;
const NOTES_MAX = 4096;

export function isElf(file: Uint8Array): boolean {
  return file.length >= 16 && viewOf(file).getUint32(0) === 0x7f45_4c46;
}

/** Reads an x86 executable. Throws UserError when it is another machine's, truncated or damaged. */
export function parseElf(file: Uint8Array): ElfFile {
  const view = viewOf(file);
  const bits = file[4] === 2 ? 64 : 32;
  const wide = bits === 64;
  if (file[5] !== 1) throw new UserError('the kernel is a big-endian ELF file, not an x86 one');
  if (file.length < (wide ? 64 : 52)) throw new UserError('the kernel is a truncated ELF file: its header is cut off');
  const machine = view.getUint16(18, true);
  if (machine !== MACHINE.i386 && machine !== MACHINE.x86_64) {
    throw new UserError(`the kernel is an ELF file for another processor (e_machine ${machine}), not for x86`);
  }
  const headersAt = wide ? word64(view, 32) : view.getUint32(28, true);
  const headerSize = view.getUint16(wide ? 54 : 42, true);
  const headerCount = view.getUint16(wide ? 56 : 44, true);
  if (headerCount === 0) throw new UserError('the kernel is an ELF file without segments (an object file?)');
  if (headerCount > HEADERS_MAX) {
    throw new UserError(`the kernel is a damaged ELF file: ${headerCount} segments, more than ${HEADERS_MAX}`);
  }
  if (headerSize < (wide ? 56 : 32)) throw new UserError('the kernel is a damaged ELF file: its headers are too short');
  if (headersAt + headerSize * headerCount > file.length) throw truncated();

  const segments: ElfSegment[] = [];
  const notes: ElfNote[] = [];
  for (let index = 0; index < headerCount; index++) {
    const header = programHeader(view, headersAt + index * headerSize, wide);
    if (header.type !== SEGMENT_TYPE.load && header.type !== SEGMENT_TYPE.note) continue;
    if (header.offset + header.fileSize > file.length) throw truncated();
    const content = file.subarray(header.offset, header.offset + header.fileSize);
    if (header.type === SEGMENT_TYPE.note) readNotes(content, notes);
    else if (header.memorySize > 0) {
      if (header.memorySize < header.fileSize)
        throw new UserError('the kernel is a damaged ELF file: a segment is larger in the file than in memory');
      segments.push({ physical: header.physical, content, memorySize: header.memorySize });
    }
  }
  return { bits, entry: wide ? word64(view, 24) : view.getUint32(24, true), segments, notes };
}

/** Puts the segments into RAM; returns the first address above them. Throws UserError when they do not fit. */
export function loadSegments(elf: ElfFile, memory: GuestMemory): number {
  if (elf.segments.length === 0) throw new UserError('the kernel is an ELF file with nothing to load');
  const start = Math.min(...elf.segments.map(({ physical }) => physical));
  const end = Math.max(...elf.segments.map(({ physical, memorySize }) => physical + memorySize));
  if (start < HIGH_MEMORY_BASE) {
    throw new UserError(`the kernel asks to be loaded at 0x${start.toString(16)}; it must lie at 1 MiB or above`);
  }
  checkKernelFits(end, memory);
  for (const { physical, content, memorySize } of elf.segments) {
    putBytes(memory, physical, content);
    putZeroes(memory, physical + content.length, memorySize - content.length);
  }
  return end;
}

function programHeader(view: DataView, at: number, wide: boolean) {
  const type = view.getUint32(at, true);
  if (wide) {
    return {
      type,
      offset: word64(view, at + 8),
      physical: word64(view, at + 24),
      fileSize: word64(view, at + 32),
      memorySize: word64(view, at + 40),
    };
  }
  return {
    type,
    offset: view.getUint32(at + 4, true),
    physical: view.getUint32(at + 12, true),
    fileSize: view.getUint32(at + 16, true),
    memorySize: view.getUint32(at + 20, true),
  };
}

/** Appends the notes of one PT_NOTE segment; a damaged tail ends the list. */
function readNotes(content: Uint8Array, notes: ElfNote[]): void {
  const view = viewOf(content);
  let at = 0;
  while (at + 12 <= content.length && notes.length < NOTES_MAX) {
    const nameSize = view.getUint32(at, true);
    const contentSize = view.getUint32(at + 4, true);
    const contentAt = at + 12 + align4(nameSize);
    if (contentAt + contentSize > content.length) return;
    const owner = String.fromCharCode(...content.subarray(at + 12, at + 12 + Math.min(nameSize, 32))).replace(
      /\0.*$/s,
      '',
    );
    notes.push({
      owner,
      type: view.getUint32(at + 8, true),
      content: content.subarray(contentAt, contentAt + contentSize),
    });
    at = contentAt + align4(contentSize);
  }
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

/** A 64-bit field as a number; what lies above 2^53 is out of every range and may be rounded. */
function word64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function truncated(): UserError {
  return new UserError('the kernel is a truncated ELF file: a segment lies beyond its end');
}
