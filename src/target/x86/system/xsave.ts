/**
 * FXSAVE and the XSAVE family (SDM vol. 1, chapters 10.5 and 13): x87, SSE and
 * AVX state, standard and compacted form. An image is built in (or taken from)
 * a staging buffer, so that a fault leaves CPU and memory as they were.
 */
import {
  arg,
  cr0,
  cr4,
  fprExponent,
  fprSignificand,
  fpuControl,
  fpuCs,
  fpuDp,
  fpuDs,
  fpuIp,
  fpuOpcode,
  fpuStatus,
  fpuTags,
  fpuTop,
  gpr,
  mxcsr,
  vector,
  vectorStride,
  xcr0,
  xmm,
  xss,
  ymmHigh,
} from '../state.ts';
import { cr0Bits, cr4Bits, type HelperResult, in64, outcome, privilege, type SystemContext } from './context.ts';
import type { X86State } from './cpu.ts';
import { raise, raiseGp, raiseUd } from './fault.ts';
import { type Rights, rights } from './ports.ts';

/** State components (bits of XCR0). */
export const components = { x87: 1, sse: 2, avx: 4 } as const;
const { x87, sse, avx } = components;
export const legacySize = 512;
export const headerSize = 64;
export const ymmOffset = legacySize + headerSize;
export const ymmSize = 256;
export const mxcsrOffset = 24;
export const stOffset = 32;
export const xmmOffset = 160;
/** MXCSR bits that exist; DAZ (bit 6) among them. */
export const mxcsrMask = 0xffff;
export const mxcsrInitial = 0x1f80;
export const fpuControlInitial = 0x37f;

export const forms = { plain: 0, optimized: 1, compacted: 2, supervisor: 3 } as const;

export function standardSize(components: number): number {
  return ymmOffset + (components & avx ? ymmSize : 0);
}

/** The same here: AVX is the only component beyond the legacy area, and the first in both forms. */
export const compactedSize: (components: number) => number = standardSize;

/** The staging buffer; reused for every image. */
export class XsaveImage {
  readonly view: DataView;
  readonly words: Int32Array;
  /** From each offset at which a piece is copied to or from memory. */
  private readonly pieces: ReadonlyMap<number, Uint8Array>;

  constructor() {
    const buffer = new ArrayBuffer(standardSize(avx));
    this.view = new DataView(buffer);
    this.words = new Int32Array(buffer);
    const offsets = [0, mxcsrOffset, stOffset, xmmOffset, legacySize, ymmOffset];
    this.pieces = new Map(offsets.map((offset) => [offset, new Uint8Array(buffer, offset)]));
  }

  from(offset: number): Uint8Array {
    return this.pieces.get(offset)!;
  }
}

function currentRights(cpu: X86State): Rights {
  return privilege(cpu) === 3 ? rights.user : rights.supervisor;
}

/** The linear address in arg0, `offset` bytes on: halves. */
function areaLow(cpu: X86State, offset: number): number {
  return (cpu.get(arg[0]) + offset) | 0;
}

function areaHigh(cpu: X86State, offset: number): number {
  return areaLow(cpu, offset) >>> 0 < offset ? (cpu.high(arg[0]) + 1) | 0 : cpu.high(arg[0]);
}

function readArea(s: SystemContext, offset: number, length: number): void {
  const { cpu, ports } = s;
  const bytes = s.xsaveImage.from(offset);
  ports.readBytes(areaLow(cpu, offset), areaHigh(cpu, offset), currentRights(cpu), bytes, length);
}

function writeArea(s: SystemContext, offset: number, length: number): void {
  const { cpu, ports } = s;
  const bytes = s.xsaveImage.from(offset);
  ports.writeBytes(areaLow(cpu, offset), areaHigh(cpu, offset), currentRights(cpu), bytes, length);
}

// Legacy area: x87.

/** Bytes 0 to 23 and the eight ST registers. With `wide` (REX.W) the pointers are 64-bit. */
function storeX87(s: SystemContext, wide: boolean): void {
  const { cpu } = s;
  const { view } = s.xsaveImage;
  view.setUint16(0, cpu.get(fpuControl), true);
  view.setUint16(2, (cpu.get(fpuStatus) & ~0x3800) | (cpu.get(fpuTop) << 11), true);
  view.setUint16(4, cpu.get(fpuTags) & 0xff, true);
  view.setUint16(6, cpu.get(fpuOpcode) & 0x7ff, true);
  view.setInt32(8, cpu.get(fpuIp), true);
  view.setInt32(12, wide ? cpu.high(fpuIp) : cpu.get(fpuCs) & 0xffff, true);
  view.setInt32(16, cpu.get(fpuDp), true);
  view.setInt32(20, wide ? cpu.high(fpuDp) : cpu.get(fpuDs) & 0xffff, true);
  for (let i = 0; i < 8; i++) {
    const physical = (cpu.get(fpuTop) + i) & 7;
    const at = stOffset + 16 * i;
    view.setInt32(at, cpu.get(fprSignificand[physical]), true);
    view.setInt32(at + 4, cpu.high(fprSignificand[physical]), true);
    view.setInt32(at + 8, cpu.get(fprExponent[physical]) & 0xffff, true);
    view.setInt32(at + 12, 0, true);
  }
}

function loadX87(s: SystemContext, wide: boolean): void {
  const { cpu } = s;
  const { view } = s.xsaveImage;
  const status = view.getUint16(2, true);
  const top = (status >> 11) & 7;
  cpu.set(fpuControl, (view.getUint16(0, true) & 0x1f7f) | 0x40);
  cpu.set(fpuStatus, withSummary(status & ~0x3800, view.getUint16(0, true)));
  cpu.set(fpuTop, top);
  cpu.set(fpuTags, view.getUint8(4));
  cpu.set(fpuOpcode, view.getUint16(6, true) & 0x7ff);
  cpu.setPair(fpuIp, view.getInt32(8, true), wide ? view.getInt32(12, true) : 0);
  cpu.setPair(fpuDp, view.getInt32(16, true), wide ? view.getInt32(20, true) : 0);
  cpu.set(fpuCs, wide ? 0 : view.getUint16(12, true));
  cpu.set(fpuDs, wide ? 0 : view.getUint16(20, true));
  for (let i = 0; i < 8; i++) {
    const physical = (top + i) & 7;
    const at = stOffset + 16 * i;
    cpu.setPair(fprSignificand[physical], view.getInt32(at, true), view.getInt32(at + 4, true));
    cpu.set(fprExponent[physical], view.getUint16(at + 8, true));
  }
}

/** ES and B follow from the unmasked exceptions. */
function withSummary(status: number, control: number): number {
  return (status & ~0x8080) | (status & ~control & 0x3f ? 0x8080 : 0);
}

/** FNINIT's state, registers cleared. */
export function initX87(cpu: X86State): void {
  cpu.set(fpuControl, fpuControlInitial);
  for (const f of [fpuStatus, fpuTop, fpuTags, fpuOpcode, fpuCs, fpuDs]) cpu.set(f, 0);
  cpu.setLow(fpuIp, 0);
  cpu.setLow(fpuDp, 0);
  for (let i = 0; i < 8; i++) {
    cpu.setLow(fprSignificand[i], 0);
    cpu.set(fprExponent[i], 0);
  }
}

function isX87Initial(cpu: X86State): boolean {
  if (cpu.get(fpuControl) !== fpuControlInitial) return false;
  for (const f of [fpuStatus, fpuTop, fpuTags, fpuOpcode, fpuCs, fpuDs]) if (cpu.get(f) !== 0) return false;
  if (cpu.get(fpuIp) | cpu.high(fpuIp) | cpu.get(fpuDp) | cpu.high(fpuDp)) return false;
  for (let i = 0; i < 8; i++) {
    if (cpu.get(fprSignificand[i]) | cpu.high(fprSignificand[i]) | cpu.get(fprExponent[i])) return false;
  }
  return true;
}

// XMM and the upper halves of YMM: eight of them outside 64-bit mode.

function vectorCount(cpu: X86State): number {
  return in64(cpu) ? 16 : 8;
}

/** Copies registers (the first one at state offset `from`) to the staging buffer at `at`. */
function storeVectors(s: SystemContext, from: number, at: number, count = vectorCount(s.cpu)): void {
  const { words } = s.xsaveImage;
  for (let i = 0; i < count; i++) {
    for (let word = 0; word < 4; word++)
      words[(at >> 2) + 4 * i + word] = s.cpu.word(from + i * vectorStride + 4 * word);
  }
}

function loadVectors(s: SystemContext, to: number, at: number, count = vectorCount(s.cpu)): void {
  const { words } = s.xsaveImage;
  for (let i = 0; i < count; i++) {
    for (let word = 0; word < 4; word++)
      s.cpu.setWord(to + i * vectorStride + 4 * word, words[(at >> 2) + 4 * i + word]);
  }
}

function clearVectors(cpu: X86State, to: number): void {
  const count = vectorCount(cpu);
  for (let i = 0; i < count; i++) {
    for (let word = 0; word < 4; word++) cpu.setWord(to + i * vectorStride + 4 * word, 0);
  }
}

function areVectorsZero(cpu: X86State, from: number): boolean {
  const count = vectorCount(cpu);
  for (let i = 0; i < count; i++) {
    const start = from + i * vectorStride;
    if (cpu.word(start) | cpu.word(start + 4) | cpu.word(start + 8) | cpu.word(start + 12)) return false;
  }
  return true;
}

/** XINUSE: the components that are not in their initial state. */
export function componentsInUse(s: SystemContext): number {
  const { cpu } = s;
  return (
    (isX87Initial(cpu) ? 0 : x87) |
    (areVectorsZero(cpu, xmm[0].offset) ? 0 : sse) |
    (areVectorsZero(cpu, ymmHigh[0].offset) ? 0 : avx)
  );
}

// FXSAVE, FXRSTOR: arg0 = linear address, arg1 = REX.W.

function checkFxsave(s: SystemContext): boolean {
  const { cpu } = s;
  if (cpu.get(cr0) & (cr0Bits.EM | cr0Bits.TS)) raise(vector.NM);
  if (cpu.get(arg[0]) & 15) raiseGp();
  return cpu.get(arg[1]) !== 0;
}

export function fxsave(s: SystemContext): HelperResult {
  const { cpu } = s;
  const wide = checkFxsave(s);
  storeX87(s, wide);
  storeMxcsr(s);
  writeArea(s, 0, stOffset + 128);
  if (cpu.get(cr4) & cr4Bits.OSFXSR) {
    storeVectors(s, xmm[0].offset, xmmOffset);
    writeArea(s, xmmOffset, vectorCount(cpu) * 16);
  }
  return outcome.next;
}

function storeMxcsr(s: SystemContext): void {
  s.xsaveImage.view.setInt32(mxcsrOffset, s.cpu.get(mxcsr), true);
  s.xsaveImage.view.setInt32(mxcsrOffset + 4, mxcsrMask, true);
}

export function fxrstor(s: SystemContext): HelperResult {
  const { cpu } = s;
  const wide = checkFxsave(s);
  readArea(s, 0, legacySize);
  const withSse = (cpu.get(cr4) & cr4Bits.OSFXSR) !== 0;
  if (withSse) loadMxcsr(s);
  loadX87(s, wide);
  if (withSse) loadVectors(s, xmm[0].offset, xmmOffset);
  return outcome.next;
}

function loadMxcsr(s: SystemContext): void {
  const value = s.xsaveImage.view.getInt32(mxcsrOffset, true);
  if (value & ~mxcsrMask) raiseGp();
  s.cpu.set(mxcsr, value);
}

// XSAVE family: arg0 = linear address, arg1 = REX.W, arg2 = form; EDX:EAX is the requested-feature bitmap.

/** Checks what all of them check and returns RFBM (its low half; higher components do not exist). */
function checkXsave(s: SystemContext, form: number): number {
  const { cpu } = s;
  if ((cpu.get(cr4) & cr4Bits.OSXSAVE) === 0) raiseUd();
  if (cpu.get(cr0) & cr0Bits.TS) raise(vector.NM);
  if (form === forms.supervisor && privilege(cpu) !== 0) raiseGp();
  if (cpu.get(arg[0]) & 63) raiseGp();
  const enabled = cpu.get(xcr0) | (form === forms.supervisor ? cpu.get(xss) : 0);
  return cpu.get(gpr[0]) & enabled;
}

export function xsave(s: SystemContext): HelperResult {
  const { cpu } = s;
  const form = cpu.get(arg[2]);
  const requested = checkXsave(s, form);
  const inUse = componentsInUse(s);
  const isCompacted = form === forms.compacted || form === forms.supervisor;
  // The init optimisation leaves out components in their initial state; plain XSAVE writes them all the same.
  let stored = form === forms.plain ? requested : requested & inUse;
  let bitmap = requested & inUse;
  if (isCompacted && requested & sse && cpu.get(mxcsr) !== mxcsrInitial) {
    stored |= sse;
    bitmap |= sse;
  }
  s.ports.probeWrite(
    cpu.get(arg[0]),
    cpu.high(arg[0]),
    currentRights(cpu),
    standardSize(isCompacted ? requested : stored),
  );
  if (!isCompacted) {
    readArea(s, legacySize, headerSize);
    bitmap |= s.xsaveImage.view.getInt32(legacySize, true) & ~requested;
  }
  storeComponents(s, requested, stored, isCompacted);
  storeHeader(s, bitmap, isCompacted ? requested : undefined);
  return outcome.next;
}

function storeComponents(s: SystemContext, requested: number, stored: number, isCompacted: boolean): void {
  const { cpu } = s;
  if (stored & x87) {
    storeX87(s, cpu.get(arg[1]) !== 0);
    writeArea(s, 0, mxcsrOffset);
    writeArea(s, stOffset, 128);
  }
  // MXCSR goes with SSE and, in the standard form, with AVX too.
  if (isCompacted ? stored & sse : requested & (sse | avx)) {
    storeMxcsr(s);
    writeArea(s, mxcsrOffset, 8);
  }
  if (stored & sse) {
    storeVectors(s, xmm[0].offset, xmmOffset);
    writeArea(s, xmmOffset, vectorCount(cpu) * 16);
  }
  if (stored & avx) {
    storeVectors(s, ymmHigh[0].offset, ymmOffset);
    writeArea(s, ymmOffset, vectorCount(cpu) * 16);
  }
}

/** XSTATE_BV; the compacted form also writes XCOMP_BV. */
function storeHeader(s: SystemContext, bitmap: number, compacted: number | undefined): void {
  const { view } = s.xsaveImage;
  view.setInt32(legacySize, bitmap, true);
  if (compacted === undefined) {
    writeArea(s, legacySize, 4);
    return;
  }
  view.setInt32(legacySize + 4, 0, true);
  view.setInt32(legacySize + 8, compacted, true);
  view.setInt32(legacySize + 12, 1 << 31, true);
  writeArea(s, legacySize, 16);
}

export function xrstor(s: SystemContext): HelperResult {
  const { cpu } = s;
  const isSupervisor = cpu.get(arg[2]) === 1;
  const requested = checkXsave(s, isSupervisor ? forms.supervisor : forms.plain);
  readArea(s, 0, ymmOffset);
  const { view } = s.xsaveImage;
  const bitmap = view.getInt32(legacySize, true);
  const isCompacted = view.getInt32(legacySize + 12, true) < 0;
  checkHeader(s, bitmap, isCompacted, isSupervisor);
  const load = requested & bitmap;
  if (load & avx) readArea(s, ymmOffset, vectorCount(cpu) * 16);
  restoreMxcsr(s, requested, bitmap, isCompacted);
  if (load & x87) loadX87(s, cpu.get(arg[1]) !== 0);
  else if (requested & x87) initX87(cpu);
  restoreVectors(s, requested & sse, load & sse, xmm[0].offset, xmmOffset);
  restoreVectors(s, requested & avx, load & avx, ymmHigh[0].offset, ymmOffset);
  return outcome.next;
}

function restoreVectors(s: SystemContext, requested: number, load: number, to: number, at: number): void {
  if (load) loadVectors(s, to, at);
  else if (requested) clearVectors(s.cpu, to);
}

/** SDM vol. 1, 13.8.1 (standard) and 13.8.2 (compacted), 13.12 (XRSTORS). */
function checkHeader(s: SystemContext, bitmap: number, isCompacted: boolean, isSupervisor: boolean): void {
  const { cpu, model } = s;
  const { view } = s.xsaveImage;
  const word = (i: number) => view.getInt32(legacySize + 4 * i, true);
  const enabled = cpu.get(xcr0) | (isSupervisor ? cpu.get(xss) : 0);
  if (word(1) !== 0) raiseGp();
  if (!isCompacted) {
    if (isSupervisor || bitmap & ~enabled || word(2) | word(3) | word(4) | word(5)) raiseGp();
    return;
  }
  if (!model.has('xsavec')) raiseGp();
  const compacted = word(2);
  if ((word(3) & 0x7fff_ffff) !== 0 || compacted & ~enabled || bitmap & ~compacted) raiseGp();
  for (let i = 4; i < 16; i++) if (word(i) !== 0) raiseGp();
}

function restoreMxcsr(s: SystemContext, requested: number, bitmap: number, isCompacted: boolean): void {
  if (!isCompacted) {
    if (requested & (sse | avx)) loadMxcsr(s);
  } else if (requested & sse) {
    if (bitmap & sse) loadMxcsr(s);
    else s.cpu.set(mxcsr, mxcsrInitial);
  }
}

// Snapshots: all components and all registers, whatever mode the CPU is in.

const allVectors = 16;
const allComponents = x87 | sse | avx;

/** The whole extended state as an image of XSAVE's standard form, pointers 64-bit. */
export function saveExtendedState(s: SystemContext): Uint8Array {
  const { view } = s.xsaveImage;
  const bytes = s.xsaveImage.from(0);
  bytes.fill(0);
  storeX87(s, true);
  storeMxcsr(s);
  storeVectors(s, xmm[0].offset, xmmOffset, allVectors);
  storeVectors(s, ymmHigh[0].offset, ymmOffset, allVectors);
  view.setInt32(legacySize, allComponents, true);
  return bytes.slice();
}

/**
 * Takes such an image; a component that its header does not name has its initial state.
 * @returns what is wrong with it, or undefined
 */
export function loadExtendedState(s: SystemContext, image: Uint8Array): string | undefined {
  if (image.length < ymmOffset) return `an XSAVE image of at least ${ymmOffset} bytes`;
  const { view } = s.xsaveImage;
  const bytes = s.xsaveImage.from(0);
  bytes.fill(0);
  bytes.set(image.subarray(0, bytes.length));
  const bitmap = view.getInt32(legacySize, true);
  if (bitmap & ~allComponents || view.getInt32(legacySize + 4, true) !== 0) return 'no state beyond x87, SSE and AVX';
  if (view.getInt32(legacySize + 12, true) !== 0) return 'an XSAVE image in the standard form';
  if (bitmap & avx && image.length < bytes.length) return `an XSAVE image of ${bytes.length} bytes`;
  if (view.getInt32(mxcsrOffset, true) & ~mxcsrMask) return 'a legal MXCSR';
  if (bitmap & x87) loadX87(s, true);
  else initX87(s.cpu);
  s.cpu.set(mxcsr, view.getInt32(mxcsrOffset, true));
  if (!(bitmap & sse)) bytes.fill(0, xmmOffset, xmmOffset + 16 * allVectors);
  if (!(bitmap & avx)) bytes.fill(0, ymmOffset);
  loadVectors(s, xmm[0].offset, xmmOffset, allVectors);
  loadVectors(s, ymmHigh[0].offset, ymmOffset, allVectors);
  return undefined;
}
