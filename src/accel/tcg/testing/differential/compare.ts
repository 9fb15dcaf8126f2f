/** Compares what the native CPU and Vireo's engine made of one case. */
import { state } from '../../../../target/index.ts';
import { type Allowance, allowances } from './differences.ts';
import { at, type Outcome, segmentNames, type TestCase } from './record.ts';

/** One value that differs. */
export interface Difference {
  readonly what: string;
  readonly native: string;
  readonly vireo: string;
}

/** All differences that no rule of differences.ts allows. */
export function compare(c: TestCase, native: Outcome, vireo: Outcome, vendor: string): Difference[] {
  const found: Difference[] = [];
  const allowed = allowances(c, native, vireo, vendor);
  if (allowed.everything) return found;
  const check = (what: string, a: bigint | number | string, b: bigint | number | string) => {
    if (a !== b) found.push({ what, native: show(a), vireo: show(b) });
  };
  check('status', native.status, vireo.status);
  if (native.status !== 'trap' || vireo.status !== 'trap') return found;
  check('vector', native.vector, vireo.vector);
  if (native.vector === vireo.vector) {
    if (state.vectorsWithError.has(native.vector) && !allowed.fault)
      check('error code', errorCode(native), errorCode(vireo));
    if (native.vector === state.vector.PF && !allowed.cr2 && !allowed.fault) check('cr2', native.cr2, vireo.cr2);
  }
  compareIntegers(c, native, vireo, allowed, check);
  if (!allowed.x87) compareX87(native, vireo, allowed, check);
  compareVectors(c, native, vireo, allowed, check);
  if (!allowed.memory) {
    for (const address of new Set([...native.changes.keys(), ...vireo.changes.keys()])) {
      if (allowed.mxcsrMask && isMxcsrMask(address, native, vireo)) continue;
      const same = (o: Outcome) => o.changes.get(address) ?? 'unchanged';
      check(`memory ${address.toString(16)}`, same(native), same(vireo));
    }
  }
  return found;
}

/** Linux hides from user mode whether its own half of the address space is mapped: bit 0 of #PF means nothing there. */
function errorCode({ vector, error, cr2 }: Outcome): number {
  return vector === state.vector.PF && cr2 >= 1n << 47n ? error | 1 : error;
}

/** Entering and leaving the kernel turns all null selectors to 0. */
const normalSelector = (selector: number): number => (selector < 4 ? 0 : selector);

/** MXCSR with MXCSR_MASK behind it, which differ in bit 17 of the latter alone. */
function isMxcsrMask(address: number, native: Outcome, vireo: Outcome): boolean {
  const [a, b] = [native.changes.get(address) ?? 0n, vireo.changes.get(address) ?? 0n];
  return (address & 15) === 8 && (a ^ b) === 1n << 49n;
}

type Check = (what: string, a: bigint | number | string, b: bigint | number | string) => void;

const show = (value: bigint | number | string): string =>
  typeof value === 'string' ? value : `0x${value.toString(16)}`;

const bitNames = [
  'CF',
  'r1',
  'PF',
  'r3',
  'AF',
  'r5',
  'ZF',
  'SF',
  'TF',
  'IF',
  'DF',
  'OF',
  'IOPL0',
  'IOPL1',
  'NT',
  'r15',
  'RF',
  'VM',
  'AC',
  'VIF',
  'VIP',
  'ID',
];

function compareIntegers({ mode }: TestCase, native: Outcome, vireo: Outcome, allowed: Allowance, check: Check): void {
  const [a, b] = [native.state, vireo.state];
  const long = mode === 'long64';
  for (let i = 0; i < (long ? 16 : 8); i++) {
    if (allowed.registers & (1 << i)) continue;
    const mask = allowed.larBits ? ~0xf0000n : allowed.upperHalf ? 0xffff_ffffn : -1n;
    const read = (s: DataView) =>
      (long ? s.getBigUint64(at.gpr + 8 * i, true) : BigInt(s.getUint32(at.gpr + 8 * i, true))) & mask;
    check(state.gprNames[i], read(a), read(b));
  }
  check('rip', a.getBigUint64(at.rip, true), b.getBigUint64(at.rip, true));
  const flags = (s: DataView) => s.getUint32(at.rflags, true) & ~allowed.flags;
  const differing = flags(a) ^ flags(b);
  if (differing) check(`rflags (${bitNames.filter((_, i) => (differing >> i) & 1).join(' ')})`, flags(a), flags(b));
  segmentNames.forEach((name, i) => {
    check(
      name,
      normalSelector(a.getUint16(at.segments + 2 * i, true)),
      normalSelector(b.getUint16(at.segments + 2 * i, true)),
    );
  });
  if (!long) return;
  if (allowed.bases) return;
  check('fs base', a.getBigUint64(at.fsBase, true), b.getBigUint64(at.fsBase, true));
  check('gs base', a.getBigUint64(at.gsBase, true), b.getBigUint64(at.gsBase, true));
}

function compareX87({ state: a }: Outcome, { state: b }: Outcome, allowed: Allowance, check: Check): void {
  check('fcw', a.getUint16(at.fcw, true), b.getUint16(at.fcw, true));
  check('fsw', a.getUint16(at.fsw, true) & ~allowed.fsw, b.getUint16(at.fsw, true) & ~allowed.fsw);
  check('tags', a.getUint8(at.ftw), b.getUint8(at.ftw));
  if (!allowed.fpuPointers) {
    check('fop', a.getUint16(at.fop, true), b.getUint16(at.fop, true));
    check('fip', a.getBigUint64(at.fip, true), b.getBigUint64(at.fip, true));
    check('fdp', a.getBigUint64(at.fdp, true), b.getBigUint64(at.fdp, true));
  }
  for (let i = 0; i < 8; i++) {
    const x = extended(a, i);
    const y = extended(b, i);
    if (x !== y && !closeBy(x, y, allowed.stUlps)) check(`st${i}`, showExtended(x), showExtended(y));
  }
}

/** The 80 bits of ST(i). */
const extended = (s: DataView, i: number): bigint =>
  (BigInt(s.getUint16(at.st + 16 * i + 8, true)) << 64n) | s.getBigUint64(at.st + 16 * i, true);
const showExtended = (value: bigint): string =>
  `${(value >> 64n).toString(16).padStart(4, '0')}:${(value & 0xffff_ffff_ffff_ffffn).toString(16).padStart(16, '0')}`;

/** Neighbours as numbers: the exponent, with the explicit integer bit taken out, continues the significand. */
function closeBy(x: bigint, y: bigint, ulps: number): boolean {
  if (!ulps || x >> 79n !== y >> 79n) return false;
  const rank = (v: bigint) => (((v >> 64n) & 0x7fffn) << 63n) | (v & 0x7fff_ffff_ffff_ffffn);
  const distance = rank(x) - rank(y);
  return distance <= BigInt(ulps) && distance >= -BigInt(ulps);
}

function compareVectors({ mode }: TestCase, native: Outcome, vireo: Outcome, allowed: Allowance, check: Check): void {
  const [a, b] = [native.state, vireo.state];
  check('mxcsr', a.getUint32(at.mxcsr, true), b.getUint32(at.mxcsr, true));
  if (allowed.vectors) return;
  for (let i = 0; i < (mode === 'long64' ? 16 : 8); i++) {
    for (const [name, offset] of [
      ['xmm', 0],
      ['ymm high', 16],
    ] as const) {
      const read = (s: DataView, j: number) => s.getBigUint64(at.ymm + 32 * i + offset + 8 * j, true);
      if (read(a, 0) === read(b, 0) && read(a, 1) === read(b, 1)) continue;
      if (allowed.estimates && closeSingles(a, b, at.ymm + 32 * i + offset)) continue;
      const text = (s: DataView) => [1, 0].map((j) => read(s, j).toString(16).padStart(16, '0')).join('_');
      check(`${name}${i}`, text(a), text(b));
    }
  }
}

/** Four single floats a side that are equal, or no further apart than two estimates with a relative error of 1.5 * 2^-12 can be. */
function closeSingles(a: DataView, b: DataView, offset: number): boolean {
  return [0, 4, 8, 12].every((i) => {
    if (a.getUint32(offset + i, true) === b.getUint32(offset + i, true)) return true;
    const x = a.getFloat32(offset + i, true);
    const y = b.getFloat32(offset + i, true);
    return Math.abs(x - y) <= 3 * 2 ** -12 * Math.abs(y);
  });
}
