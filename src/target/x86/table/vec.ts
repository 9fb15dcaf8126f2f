/**
 * Combinators for vector rows: one definition of an operation gives the legacy
 * SSE row (destination is the first source, upper half of the YMM register
 * kept), the VEX rows (separate destination, upper half cleared), and the MMX
 * row where there is one. Operations see 128-bit halves; a 256-bit instruction
 * is the same operation on both.
 */
import { add, and, type Expr, i32, i64, lane, mul, op, select, shuffle, v128 } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { fpuTags, fpuTop } from '../state.ts';
import { type Feature, type Row, type RowOptions, row } from './row.ts';

/** An operation on one half of its sources. */
export type Binary = (x: Expr, y: Expr, b: X86Builder) => Expr;
export type Unary = (x: Expr, b: X86Builder) => Expr;
/** As Binary, with the immediate (i32, 0 to 255) and the number of the half. */
export type Immediate = (x: Expr, y: Expr, imm: Expr, b: X86Builder, half: Half) => Expr;
export type Half = 0 | 1;

export interface Form extends Omit<RowOptions, 'aligned' | 'unit'> {
  readonly cpuid: Feature;
  /**
   * VEX forms: `avx` both lengths; `avx2` 128 bits by AVX and 256 by AVX2 (the default);
   * `128` that length only; `scalar` length ignored; `none`.
   */
  readonly vex?: 'avx' | 'avx2' | '128' | 'scalar' | 'none';
  readonly w?: 'W0' | 'W1';
  /** Which forms want a 16- or 32-byte memory operand aligned; by default the legacy one where there is such an operand. */
  readonly aligned?: 'never' | 'always';
  /** A mnemonic for the VEX form other than V + the legacy one. */
  readonly vexName?: string;
}

const maps: Record<string, string> = { '0F': '0F', '0F38': '0F 38', '0F3A': '0F 3A' };

/**
 * Legacy and VEX rows of one instruction. `code` is e.g. `66.0F38 1C` (mandatory prefix, map, opcode); `operands`
 * are the VEX form's: the legacy form is without the H operand.
 */
export function both(mnemonic: string, code: string, operands: string, semantics: Semantics, form: Form): Row[] {
  const { vex = 'avx2', w, aligned, cpuid, vexName = `V${mnemonic}`, ...rest } = form;
  const [head, ...opcode] = code.split(' ');
  const [prefix, map] = head.split('.');
  const wide = /\b[WM](x|dq|ps|pd)\b/.test(operands);
  const legacy = row(
    mnemonic,
    [prefix, maps[map], ...opcode].join(' '),
    operands.replace(/,H\w+|H\w+,/, ''),
    semantics,
    {
      ...rest,
      cpuid,
      unit: 'sse',
      ...(wide && aligned !== 'never' ? { aligned: true } : {}),
    },
  );
  const vexRow = (length: string, feature: Feature) =>
    row(vexName, `VEX.${length}${prefix}.${map}${w ? `.${w}` : ''} ${opcode.join(' ')}`, operands, semantics, {
      ...rest,
      cpuid: feature,
      unit: 'avx',
      ...(aligned === 'always' ? { aligned: true } : {}),
    });
  if (vex === 'none') return [legacy];
  if (vex === '128') return [legacy, vexRow('L0.', 'avx')];
  if (vex === 'avx2') return [legacy, vexRow('L0.', 'avx'), vexRow('L1.', 'avx2')];
  return [legacy, vexRow('', 'avx')];
}

/** A VEX-only row. `code` is e.g. `L1.66.0F38.W0 18`. */
export function avx(
  mnemonic: string,
  code: string,
  operands: string,
  semantics: Semantics,
  options: RowOptions = {},
): Row {
  return row(mnemonic, `VEX.${code}`, operands, semantics, { cpuid: 'avx', unit: 'avx', ...options });
}

/** Index of the first source operand: the legacy form has no separate one. */
export const source = (b: X86Builder): number => (b.vex ? 1 : 0);

/** Writes operand 0 half by half; every half is computed before any is written. */
export function writeHalves(b: X86Builder, compute: (half: Half) => Expr): void {
  const low = b.let(compute(0));
  b.writeVector(0, low, b.vl === 32 ? b.let(compute(1)) : undefined);
}

/** Semantics of destination ← x op y. */
export const binary =
  (operation: Binary): Semantics =>
  (b) =>
    writeHalves(b, (half) => operation(b.readVector(source(b), half), b.readVector(source(b) + 1, half), b));

/** Semantics of destination ← op x (operands destination, source in both forms). */
export const unary =
  (operation: Unary): Semantics =>
  (b) =>
    writeHalves(b, (half) => operation(b.readVector(1, half), b));

/** Semantics of destination ← x op y under an immediate, the last operand. */
export const withImmediate =
  (operation: Immediate): Semantics =>
  (b) => {
    const imm = b.immediate(source(b) + 2);
    writeHalves(b, (half) => operation(b.readVector(source(b), half), b.readVector(source(b) + 1, half), imm, b, half));
  };

/** Destination ← op x under an immediate (operands destination, source, immediate in both forms). */
export const unaryImmediate =
  (operation: (x: Expr, imm: Expr, b: X86Builder) => Expr): Semantics =>
  (b) =>
    writeHalves(b, (half) => operation(b.readVector(1, half), b.immediate(2), b));

/** A plain WebAssembly operator as an operation. */
export const wasm =
  (name: string): Binary =>
  (x, y) =>
    op(name, x, y);
export const wasm1 =
  (name: string): Unary =>
  (x) =>
    op(name, x);

// ---- MMX ----

/** The MMX state rules: any MMX instruction but EMMS makes all x87 registers valid and TOP 0 (SDM vol. 3, 13.2). */
export function enterMmx(b: X86Builder): void {
  b.put(fpuTop, i32(0));
  b.put(fpuTags, i32(0xff));
}

/** MMX operand `i` as i64: a register, or memory of `size` bytes. */
export const readMmx = (b: X86Builder, i: number, size: 4 | 8 = 8): Expr => {
  if (!b.inMemory(i)) return b.getAt(b.registerOffset(i), 0, 'i64', 8);
  const value = b.load(b.address(i, size), size);
  return size === 8 ? value : op('i64.extend_i32_u', value);
};

/** Writes MMX register operand `i`; the exponent of the x87 register becomes all ones. */
export function writeMmx(b: X86Builder, i: number, value: Expr): void {
  const bound = b.let(value);
  enterMmx(b);
  b.putAt(b.registerOffset(i), 0, bound, 8);
  b.putAt(b.registerOffset(i), 8, i32(0xffff), 4);
}

/** An i64 in the low lane of a vector, the high lane zero. */
export const lowLane = (value: Expr): Expr => lane('i64x2.replace_lane', 0, zero128, value);
export const low64 = (v: Expr): Expr => lane('i64x2.extract_lane', 0, v);

/** Semantics of an MMX instruction P ← P op Q, the operation on 128-bit vectors of which the low half counts. */
const mmxBinary =
  (operation: Binary, size: 4 | 8 = 8): Semantics =>
  (b) => {
    const y = b.let(lowLane(readMmx(b, 1, size)));
    writeMmx(b, 0, low64(operation(b.let(lowLane(readMmx(b, 0))), y, b)));
  };

/** The MMX row of an operation. */
export const mmx = (mnemonic: string, code: string, operation: Binary, cpuid: Feature, size: 4 | 8 = 8): Row =>
  row(mnemonic, `NP ${code}`, size === 8 ? 'Pq,Qq' : 'Pq,Qd', mmxBinary(operation, size), { cpuid, unit: 'mmx' });

// ---- constants and lanes ----

/** A v128 constant of `16 / size` lanes of `size` bytes; short lists repeat. */
export function lanes(size: 1 | 2 | 4 | 8, ...values: (number | bigint)[]): Expr {
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16 / size; i++) {
    const value = BigInt.asUintN(64, BigInt(values[i % values.length]));
    for (let j = 0; j < size; j++) bytes[i * size + j] = Number((value >> BigInt(8 * j)) & 0xffn);
  }
  return v128(bytes);
}

export const zero128: Expr = lanes(8, 0);
export const ones128: Expr = lanes(8, -1);
/** Bytes 0, 1, … 15. */
export const iota: Expr = v128(Array.from({ length: 16 }, (_, i) => i));

/** Shuffle by lanes of `size` bytes: lane numbers count through a, then b. */
export function pick(size: 1 | 2 | 4 | 8, a: Expr, b: Expr, ...numbers: number[]): Expr {
  return shuffle(
    a,
    b,
    numbers.flatMap((n) => Array.from({ length: size }, (_, j) => n * size + j)),
  );
}

const shapes = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' } as const;

/** Lane `index` (i32, cut to the number of lanes) of `size` bytes, zero-extended; i64 for size 8. */
export function extractLane(size: 1 | 2 | 4 | 8, v: Expr, index: Expr): Expr {
  const suffix = size < 4 ? '_u' : '';
  const number = and(index, i32(16 / size - 1));
  const extract = (n: number, from: Expr) => lane(`${shapes[size]}.extract_lane${suffix}`, n, from);
  if (number.kind === 'const') return extract(number.value as number, v);
  return extract(0, op('i8x16.swizzle', v, op('i8x16.add', op('i8x16.splat', mul(number, i32(size))), iota)));
}

/** `v` with lane `index` replaced by `value` (i64 for size 8, else i32). */
export function insertLane(size: 1 | 2 | 4 | 8, v: Expr, value: Expr, index: Expr): Expr {
  const number = and(index, i32(16 / size - 1));
  if (number.kind === 'const') return lane(`${shapes[size]}.replace_lane`, number.value as number, v, value);
  const numbers = v128(Array.from({ length: 16 }, (_, i) => Math.floor(i / size)));
  const here = op('i8x16.eq', numbers, op('i8x16.splat', number));
  return op('v128.bitselect', op(`${shapes[size]}.splat`, value), v, here);
}

/** Bytes of `v` moved up (towards byte 15) by `count` (i32, unsigned); zeroes come in. */
export const bytesUp = (v: Expr, count: Expr): Expr =>
  op('i8x16.swizzle', v, op('i8x16.sub', iota, op('i8x16.splat', atMost(count, 16))));
/** Bytes of `v` moved down by `count`. */
export const bytesDown = (v: Expr, count: Expr): Expr =>
  op('i8x16.swizzle', v, op('i8x16.add', iota, op('i8x16.splat', atMost(count, 16))));

/** Unsigned minimum of an i32 and a constant. */
export const atMost = (e: Expr, limit: number): Expr =>
  e.kind === 'const'
    ? i32(Math.min((e.value as number) >>> 0, limit))
    : select(op('i32.lt_u', e, i32(limit)), e, i32(limit));

/** Four 2-bit fields of an immediate as lanes of `size` (2 or 4) bytes, the first four when size is 2. */
const fields2 = (imm: Expr, size: 2 | 4): Expr => {
  const shape = shapes[size];
  const spread = op(`${shape}.mul`, op(`${shape}.splat`, and(imm, i32(0xff))), lanes(size, 64, 16, 4, 1));
  return op('v128.and', op(`${shape}.shr_u`, spread, i32(6)), lanes(size, 3));
};

/** A byte-index vector for i8x16.swizzle that picks 32-bit lanes by an immediate's four 2-bit fields (PSHUFD). */
export const dwordIndices = (imm: Expr): Expr =>
  op('i32x4.add', op('i32x4.mul', fields2(imm, 4), lanes(4, 0x04040404)), lanes(4, 0x03020100));
/** The same for 16-bit lanes: each half of four words picks within itself. */
export const wordIndices = (imm: Expr): Expr =>
  op(
    'i16x8.add',
    op('i16x8.mul', fields2(imm, 2), lanes(2, 0x0202)),
    lanes(2, 0x0100, 0x0100, 0x0100, 0x0100, 0x0908, 0x0908, 0x0908, 0x0908),
  );

/** The four 2-bit fields of a constant immediate. */
export const fieldsOf = (imm: number): number[] => [0, 2, 4, 6].map((s) => (imm >> s) & 3);

/** 1 in bit `n` of an immediate, as i32 0 or 1. */
export const bit = (imm: Expr, n: number): Expr => and(op('i32.shr_u', imm, i32(n)), i32(1));
/** A byte offset added to an i64 address. */
export const plus = (address: Expr, bytes: number): Expr => add(address, i64(bytes));
