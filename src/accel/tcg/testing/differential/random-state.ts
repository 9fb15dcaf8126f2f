/** Random user-mode CPU states. */
import type { Random } from './random.ts';
import { at, codeBase, type Mode, selectors, stateBytes } from './record.ts';
import { type ElementKind, elements, float80, integer } from './values.ts';

/** What the row at hand makes likely. */
export interface Taste {
  readonly kind: ElementKind;
  /** x87 and MMX: the state of that unit is varied more. */
  readonly x87: boolean;
  readonly sse: boolean;
}

const kinds: readonly ElementKind[] = ['bytes', 'words', 'dwords', 'qwords', 'single', 'double', 'random'];
export const someKind = (r: Random, taste: Taste): ElementKind => (r.chance(80) ? taste.kind : r.pick(kinds));

export function randomState(r: Random, mode: Mode, taste: Taste): DataView<ArrayBuffer> {
  const s = new DataView(new ArrayBuffer(stateBytes));
  randomGeneral(s, r, mode);
  randomSegments(s, r, mode);
  // IRET to a 16-bit stack leaves the upper half of ESP as it was in the kernel.
  if (s.getUint16(at.segments + 2, true) === stack16) setGpr(s, 4, mode, gprOf(s, 4) & 0xffffn);
  randomX87(s, r, taste);
  randomVectors(s, r, mode, taste);
  return s;
}

const arithmetic = 0x8d5;
/** The local descriptor of a 16-bit data segment. */
const stack16 = 0x0f;

function randomGeneral(s: DataView, r: Random, mode: Mode): void {
  const count = mode === 'long64' ? 16 : 8;
  for (let i = 0; i < count; i++) setGpr(s, i, mode, integer(r));
  if (r.chance(15)) setGpr(s, r.below(count), mode, gprOf(s, r.below(count)));
  // Implicit pointers: rSI, rDI, rBX, rBP often point at data; rSP nearly always.
  for (const i of [6, 7, 3, 5]) if (r.chance(50)) setPointer(s, i, mode, randomAddress(r, 16));
  setPointer(s, 4, mode, r.chance(99) ? stackAddress(r) : integer(r));
  let flags = 0x202 | (r.u32() & arithmetic);
  if (r.chance(20)) flags |= 0x400; // DF
  if (r.chance(1)) flags |= 0x100; // TF
  if (r.chance(1)) flags |= 0x40000; // AC
  s.setBigUint64(at.rflags, BigInt(flags), true);
}

/** Sets a pointer register; in 16-bit code with anything above the low half. */
function setPointer(s: DataView, i: number, mode: Mode, address: number | bigint): void {
  setGpr(s, i, mode, BigInt(address));
}

export const gprOf = (s: DataView, i: number): bigint => s.getBigUint64(at.gpr + 8 * i, true);

/** Sets a general register; outside 64-bit mode its upper half stays 0. */
export function setGpr(s: DataView, i: number, mode: Mode, value: bigint): void {
  s.setBigUint64(at.gpr + 8 * i, mode === 'long64' ? value : value & 0xffff_ffffn, true);
}

/** An address for `size` bytes of data: mostly within a writable page, else at a border or where there is nothing. */
export function randomAddress(r: Random, size: number): number {
  const inPage = () => {
    const slots = Math.max(1, Math.floor((4096 - size) / 16));
    return r.below(slots) * 16;
  };
  const page = r.pick([0x8000, 0x9000, 0xb000]);
  const across = () => (size > 1 ? 1 + r.below(size - 1) : 0);
  switch (r.below(25)) {
    case 0:
      return 0xa000 - across(); // into nothing
    case 1:
      return 0xc000 - across(); // from a writable into a read-only page
    case 2:
      return 0xc000 + inPage();
    case 3:
      return 0x9000 - across(); // from one writable page into the next
    case 4:
      return r.pick([0xa000, 0x7000, 0xd000 - across(), 0x8000 - across(), 0, codeBase - 64]);
    case 5:
    case 6:
      return page + r.below(4096 - size + 1);
    case 7:
      return page + 4096 - size;
    default:
      return page + inPage();
  }
}

function stackAddress(r: Random): number {
  if (r.chance(4)) return r.pick([0x8000, 0x8004, 0x800c, 0x9ff8, 0x9ffe, 0xa000, 0xc000, 0xc800, 0x9004, 0x9002]);
  const page = r.pick([0x8000, 0x9000, 0xb000]);
  return page + 0x400 + r.below(0x80) * 16 + (r.chance(70) ? 0 : r.below(16));
}

function randomSegments(s: DataView, r: Random, mode: Mode): void {
  const set = (i: number, selector: number) => s.setUint16(at.segments + 2 * i, selector, true);
  const data = () => (mode === 'long64' || r.chance(88) ? selectors.data : r.pick([0x0f, 0x17, 0x1f, 0x27, 0x37, 0]));
  set(0, mode === 'long64' ? selectors.code64 : mode === 'code32' ? selectors.code32 : 0x07);
  set(1, mode === 'code16' && r.chance(50) ? stack16 : selectors.data);
  set(2, data());
  set(3, data());
  set(4, mode === 'long64' ? 0 : data());
  set(5, mode === 'long64' ? 0 : data());
  if (mode !== 'long64') return;
  s.setBigUint64(
    at.fsBase,
    r.pick([0n, 0x1000n, 0x7fff_ffff_f000n, BigInt.asUintN(64, -0x2000n), BigInt(r.u32() >>> 1)]),
    true,
  );
  s.setBigUint64(
    at.gsBase,
    r.pick([0n, 0x1001n, 0x7fff_ffff_f000n, BigInt.asUintN(64, -0x2000n), BigInt(r.u32() >>> 1)]),
    true,
  );
}

function randomX87(s: DataView, r: Random, { x87 }: Taste): void {
  const vary = (percent: number) => x87 && r.chance(percent);
  // Bit 6 reads as 1 always.
  let control = 0x37f;
  if (vary(50)) control = 0x7f | (r.pick([0, 2, 3]) << 8) | (r.below(4) << 10);
  if (vary(15)) control &= ~r.below(64);
  let status = r.below(8) << 11;
  if (vary(60)) status |= r.u32() & 0x4700;
  if (vary(25)) status |= r.below(128);
  if (!r.chance(10)) status &= ~(~control & 0x3f); // no exception pending
  if (status & ~control & 0x3f) status |= 0x8080;
  s.setUint16(at.fcw, control, true);
  s.setUint16(at.fsw, status, true);
  s.setUint8(at.ftw, vary(35) ? r.below(256) : vary(10) ? 0 : 0xff);
  for (let i = 0; i < 8; i++) {
    const { significand, exponent } = float80(r);
    s.setBigUint64(at.st + 16 * i, significand, true);
    s.setUint16(at.st + 16 * i + 8, exponent, true);
  }
  if (r.chance(10)) for (let j = 0; j < 10; j++) s.setUint8(at.st + j, s.getUint8(at.st + 16 + j));
}

function randomVectors(s: DataView, r: Random, mode: Mode, taste: Taste): void {
  let control = 0x1f80;
  if (taste.sse && r.chance(50)) control |= r.below(4) << 13;
  if (taste.sse && r.chance(20)) control |= r.pick([0x8000, 0x40, 0x8040]);
  if (taste.sse && r.chance(12)) control &= ~(r.below(64) << 7);
  if (taste.sse && r.chance(15)) control |= r.below(64);
  s.setUint32(at.mxcsr, control, true);
  const count = mode === 'long64' ? 16 : 8;
  const all = new Uint8Array(s.buffer);
  for (let i = 0; i < count; i++) all.set(elements(r, someKind(r, taste), 32), at.ymm + 32 * i);
  if (r.chance(20)) {
    const from = at.ymm + 32 * r.below(count);
    all.copyWithin(at.ymm + 32 * r.below(count), from, from + 32);
  }
}
