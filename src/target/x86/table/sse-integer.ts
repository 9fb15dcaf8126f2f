/**
 * Packed integer arithmetic, logic, comparison, shifts and packing of MMX, SSE2,
 * SSSE3, SSE4.1 and SSE4.2, in MMX, legacy SSE and VEX form (SDM vol. 2).
 */
import { and, type Expr, gtU, i32, i64, lane, op, or, select, shl, shrU, shuffle, sub, toI32 } from '../../ir/index.ts';
import type { Semantics } from '../builder.ts';
import { v } from './fp.ts';
import { type Feature, type Row, row } from './row.ts';
import {
  atMost,
  type Binary,
  binary,
  both,
  bytesDown,
  bytesUp,
  extractLane,
  type Immediate,
  iota,
  lanes,
  low64,
  lowLane,
  mmx,
  pick,
  readMmx,
  source,
  type Unary,
  unary,
  wasm,
  wasm1,
  withImmediate,
  writeHalves,
  writeMmx,
  zero128,
} from './vec.ts';

/** An operation of map 0F in all its forms; `mmxFeature` is absent where there is no MMX form. */
function integer(
  mnemonic: string,
  opcode: string,
  operation: Binary,
  mmxFeature?: Feature,
  mmxOperation = operation,
): Row[] {
  const rows = both(mnemonic, `66.0F ${opcode}`, 'Vx,Hx,Wx', binary(operation), { cpuid: 'sse2' });
  return mmxFeature ? [...rows, mmx(mnemonic, `0F ${opcode}`, mmxOperation, mmxFeature)] : rows;
}

/** The same for map 0F38: SSSE3 instructions have an MMX form, SSE4 ones do not. */
function integer38(
  mnemonic: string,
  opcode: string,
  cpuid: Feature,
  operation: Binary,
  mmxOperation = operation,
): Row[] {
  const rows = both(mnemonic, `66.0F38 ${opcode}`, 'Vx,Hx,Wx', binary(operation), { cpuid });
  return cpuid === 'ssse3' ? [...rows, mmx(mnemonic, `0F 38 ${opcode}`, mmxOperation, cpuid)] : rows;
}

/** One-source operations of map 0F38 (PABSx, PHMINPOSUW). */
const abs38 = (mnemonic: string, opcode: string, operation: Unary): Row[] => [
  ...both(mnemonic, `66.0F38 ${opcode}`, 'Vx,Wx', unary(operation), { cpuid: 'ssse3' }),
  mmx(mnemonic, `0F 38 ${opcode}`, (_, y, b) => operation(y, b), 'ssse3'),
];

// ---- operations ----

/** High halves of the 16-bit products. */
const highProducts =
  (sign: 's' | 'u'): Binary =>
  (x, y) =>
    shuffle(
      op(`i32x4.extmul_low_i16x8_${sign}`, x, y),
      op(`i32x4.extmul_high_i16x8_${sign}`, x, y),
      [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31],
    );

/** 64-bit products of the even 32-bit lanes. */
const evenProducts =
  (sign: 's' | 'u'): Binary =>
  (x, y) =>
    op(`i64x2.extmul_low_i32x4_${sign}`, pick(4, x, x, 0, 2, 0, 2), pick(4, y, y, 0, 2, 0, 2));

/** Sums of absolute differences of bytes, per 64 bits. */
const sumOfDifferences: Binary = (x, y) => {
  const differences = v('or', op('i8x16.sub_sat_u', x, y), op('i8x16.sub_sat_u', y, x));
  const sums = op('i32x4.extadd_pairwise_i16x8_u', op('i16x8.extadd_pairwise_i8x16_u', differences));
  return op('i64x2.add', v('and', sums, lanes(8, 0xffffffffn)), op('i64x2.shr_u', sums, i32(32)));
};

/** Unsigned bytes of x times signed bytes of y, pairs added with signed saturation. */
const multiplyAddBytes: Binary = (x, y) =>
  op(
    'i16x8.add_sat_s',
    op('i16x8.mul', v('and', x, lanes(2, 0xff)), op('i16x8.shr_s', op('i16x8.shl', y, i32(8)), i32(8))),
    op('i16x8.mul', op('i16x8.shr_u', x, i32(8)), op('i16x8.shr_s', y, i32(8))),
  );

/** WebAssembly saturates -1 x -1; PMULHRSW wraps to -1. */
const roundedProducts: Binary = (x, y) =>
  v(
    'xor',
    op('i16x8.q15mulr_sat_s', x, y),
    v('and', op('i16x8.eq', x, lanes(2, 0x8000)), op('i16x8.eq', y, lanes(2, 0x8000))),
  );

/** Negates, keeps or zeroes lanes of x by the sign of y's. */
const sign =
  (shape: string, bits: number): Binary =>
  (x, y, b) => {
    const negative = b.let(op(`${shape}.shr_s`, y, i32(bits - 1)));
    const signed = op(`${shape}.sub`, v('xor', x, negative), negative);
    return v('andnot', signed, op(`${shape}.eq`, y, zero128));
  };

const even16 = [0, 2, 4, 6, 8, 10, 12, 14];
const odd16 = [1, 3, 5, 7, 9, 11, 13, 15];
/** Even lanes of x and y with their odd neighbours: PHADDx and PHSUBx. */
const horizontal =
  (size: 2 | 4, name: string): Binary =>
  (x, y) =>
    size === 2
      ? op(name, pick(2, x, y, ...even16), pick(2, x, y, ...odd16))
      : op(name, pick(4, x, y, 0, 2, 4, 6), pick(4, x, y, 1, 3, 5, 7));
/** In MMX form the sources are joined first, and the low half of the result counts. */
const joined =
  (operation: Binary): Binary =>
  (x, y, b) => {
    const both64 = b.let(pick(8, x, y, 0, 2));
    return operation(both64, both64, b);
  };
const interleave = (size: 1 | 2 | 4 | 8, high: boolean): number[] => {
  const half = 8 / size;
  const count = 16 / size;
  return Array.from({ length: half }, (_, i) => (high ? half : 0) + i).flatMap((i) => [i, i + count]);
};
/** PUNPCKLxx and PUNPCKHxx; the MMX form works on 64-bit sources in the low halves. */
function unpack(mnemonic: string, opcode: string, size: 1 | 2 | 4 | 8, high: boolean): Row[] {
  const operation: Binary = (x, y) => pick(size, x, y, ...interleave(size, high));
  const rows = both(mnemonic, `66.0F ${opcode}`, 'Vx,Hx,Wx', binary(operation), { cpuid: 'sse2' });
  if (size === 8) return rows;
  // Interleaving whole 64-bit sources gives 16 bytes: PUNPCKL takes the low half, PUNPCKH the high one.
  const narrow: Binary = (x, y) => {
    const all = pick(size, x, y, ...interleave(size, false));
    return high ? pick(8, all, all, 1, 1) : all;
  };
  return [...rows, mmx(mnemonic, `0F ${opcode}`, narrow, 'mmx', high ? 8 : 4)];
}

// ---- shifts ----

type Shift = (x: Expr, count: Expr) => Expr;
/** Shift by a 64-bit count: beyond the lane's width the result is zero, or all sign for `shr_s`. */
const laneShift =
  (shape: string, name: string, bits: number): Shift =>
  (x, count) => {
    const tooFar = gtU(count, i64(bits - 1));
    const few = toI32(count);
    if (name === 'shr_s') return op(`${shape}.shr_s`, x, select(tooFar, i32(bits - 1), few));
    return select(tooFar, zero128, op(`${shape}.${name}`, x, few));
  };

/** Shift with the count in a vector register or memory, and (opcode `group`) in an immediate. */
function shifts(mnemonic: string, opcode: string, group: string, shift: Shift): Row[] {
  const byVector: Semantics = (b) => {
    const count = b.let(low64(b.readVector(source(b) + 1)));
    writeHalves(b, (half) => shift(b.readVector(source(b), half), count));
  };
  const mmxByVector: Semantics = (b) => {
    const count = b.let(readMmx(b, 1));
    writeMmx(b, 0, low64(shift(lowLane(readMmx(b, 0)), count)));
  };
  const mmxByImmediate: Semantics = (b) => writeMmx(b, 0, low64(shift(lowLane(readMmx(b, 0)), count8(b.immediate(1)))));
  return [
    ...both(mnemonic, `66.0F ${opcode}`, 'Vx,Hx,Wdq', byVector, { cpuid: 'sse2' }),
    ...immediateShift(mnemonic, group, (x, imm) => shift(x, count8(imm))),
    row(mnemonic, `NP 0F ${opcode}`, 'Pq,Qq', mmxByVector, { cpuid: 'mmx', unit: 'mmx' }),
    row(mnemonic, `NP 0F ${group}`, 'Nq,Ibu', mmxByImmediate, { cpuid: 'mmx', unit: 'mmx' }),
  ];
}

/** An 8-bit immediate as a 64-bit count. */
const count8 = (imm: Expr): Expr => op('i64.extend_i32_u', and(imm, i32(0xff)));

/** Shift groups 12 to 14: in VEX form the destination is VEX.vvvv. */
function immediateShift(mnemonic: string, group: string, operation: (x: Expr, imm: Expr) => Expr): Row[] {
  const semantics: Semantics = (b) =>
    writeHalves(b, (half) => operation(b.readVector(source(b), half), b.immediate(source(b) + 1)));
  return both(mnemonic, `66.0F ${group}`, 'Hx,Ux,Ibu', semantics, { cpuid: 'sse2' });
}

const shiftTable: Row[] = [
  ...shifts('PSLLW', 'F1', '71 /6', laneShift('i16x8', 'shl', 16)),
  ...shifts('PSLLD', 'F2', '72 /6', laneShift('i32x4', 'shl', 32)),
  ...shifts('PSLLQ', 'F3', '73 /6', laneShift('i64x2', 'shl', 64)),
  ...shifts('PSRLW', 'D1', '71 /2', laneShift('i16x8', 'shr_u', 16)),
  ...shifts('PSRLD', 'D2', '72 /2', laneShift('i32x4', 'shr_u', 32)),
  ...shifts('PSRLQ', 'D3', '73 /2', laneShift('i64x2', 'shr_u', 64)),
  ...shifts('PSRAW', 'E1', '71 /4', laneShift('i16x8', 'shr_s', 16)),
  ...shifts('PSRAD', 'E2', '72 /4', laneShift('i32x4', 'shr_s', 32)),
  ...immediateShift('PSLLDQ', '73 /7', (x, imm) => bytesUp(x, and(imm, i32(0xff)))),
  ...immediateShift('PSRLDQ', '73 /3', (x, imm) => bytesDown(x, and(imm, i32(0xff)))),
];

// ---- byte alignment and dot sums ----

/** Bytes imm… of the concatenation x:y of two 16-byte halves. */
const align: Immediate = (x, y, imm, b) => {
  const n = b.let(atMost(and(imm, i32(0xff)), 32));
  const from = (offset: number) => op('i8x16.add', iota, op('i8x16.splat', sub(n, i32(offset))));
  return v('or', op('i8x16.swizzle', y, from(0)), op('i8x16.swizzle', x, from(16)));
};
const mmxAlign: Semantics = (b) => {
  const y = b.let(readMmx(b, 1));
  const all = lane('i64x2.replace_lane', 1, lowLane(y), readMmx(b, 0));
  writeMmx(b, 0, low64(bytesDown(all, and(b.immediate(2), i32(0xff)))));
};

/** Sums of absolute differences of a 4-byte block of y and eight successive blocks of x (MPSADBW). */
const blockDifferences: Immediate = (x, y, imm, b, half) => {
  const control = half === 0 ? imm : shrU(imm, i32(3));
  const xs = b.let(bytesDown(x, and(control, i32(4))));
  const block = b.let(extractLane(4, y, and(control, i32(3))));
  const one = (i: number): Expr => {
    const bytes = op('i8x16.splat', shrU(block, i32(8 * i)));
    const moved = pick(1, xs, xs, ...Array.from({ length: 16 }, (_, k) => (k + i) & 15));
    return op(
      'i16x8.extend_low_i8x16_u',
      v('or', op('i8x16.sub_sat_u', moved, bytes), op('i8x16.sub_sat_u', bytes, moved)),
    );
  };
  return [0, 1, 2, 3].map(one).reduce((a, c) => op('i16x8.add', a, c));
};

/** The smallest of eight unsigned words in lane 0, its number in lane 1, the rest zero (PHMINPOSUW). */
const minimumPosition: Unary = (x, b) => {
  // Word and lane number as one 32-bit key: the minimum is the smallest word at the lowest position.
  const low = op('i32x4.extend_low_i16x8_u', x);
  const high = op('i32x4.extend_high_i16x8_u', x);
  const key = (e: Expr, first: number) =>
    v('or', op('i32x4.shl', e, i32(3)), lanes(4, first, first + 1, first + 2, first + 3));
  const four = b.let(op('i32x4.min_u', key(low, 0), key(high, 4)));
  const two = b.let(op('i32x4.min_u', four, pick(4, four, four, 2, 3, 0, 1)));
  const least = b.let(lane('i32x4.extract_lane', 0, op('i32x4.min_u', two, pick(4, two, two, 1, 0, 3, 2))));
  const packed = or(shrU(least, i32(3)), shl(and(least, i32(7)), i32(16)));
  return lane('i32x4.replace_lane', 0, zero128, packed);
};

export const sseIntegerRows: readonly Row[] = [
  ...integer('PADDB', 'FC', wasm('i8x16.add'), 'mmx'),
  ...integer('PADDW', 'FD', wasm('i16x8.add'), 'mmx'),
  ...integer('PADDD', 'FE', wasm('i32x4.add'), 'mmx'),
  ...integer('PADDQ', 'D4', wasm('i64x2.add'), 'sse2'),
  ...integer('PADDSB', 'EC', wasm('i8x16.add_sat_s'), 'mmx'),
  ...integer('PADDSW', 'ED', wasm('i16x8.add_sat_s'), 'mmx'),
  ...integer('PADDUSB', 'DC', wasm('i8x16.add_sat_u'), 'mmx'),
  ...integer('PADDUSW', 'DD', wasm('i16x8.add_sat_u'), 'mmx'),
  ...integer('PSUBB', 'F8', wasm('i8x16.sub'), 'mmx'),
  ...integer('PSUBW', 'F9', wasm('i16x8.sub'), 'mmx'),
  ...integer('PSUBD', 'FA', wasm('i32x4.sub'), 'mmx'),
  ...integer('PSUBQ', 'FB', wasm('i64x2.sub'), 'sse2'),
  ...integer('PSUBSB', 'E8', wasm('i8x16.sub_sat_s'), 'mmx'),
  ...integer('PSUBSW', 'E9', wasm('i16x8.sub_sat_s'), 'mmx'),
  ...integer('PSUBUSB', 'D8', wasm('i8x16.sub_sat_u'), 'mmx'),
  ...integer('PSUBUSW', 'D9', wasm('i16x8.sub_sat_u'), 'mmx'),
  ...integer('PMULLW', 'D5', wasm('i16x8.mul'), 'mmx'),
  ...integer('PMULHW', 'E5', highProducts('s'), 'mmx'),
  ...integer('PMULHUW', 'E4', highProducts('u'), 'sse'),
  ...integer('PMULUDQ', 'F4', evenProducts('u'), 'sse2'),
  ...integer('PMADDWD', 'F5', wasm('i32x4.dot_i16x8_s'), 'mmx'),
  ...integer('PSADBW', 'F6', sumOfDifferences, 'sse'),
  ...integer('PAVGB', 'E0', wasm('i8x16.avgr_u'), 'sse'),
  ...integer('PAVGW', 'E3', wasm('i16x8.avgr_u'), 'sse'),
  ...integer('PMINUB', 'DA', wasm('i8x16.min_u'), 'sse'),
  ...integer('PMAXUB', 'DE', wasm('i8x16.max_u'), 'sse'),
  ...integer('PMINSW', 'EA', wasm('i16x8.min_s'), 'sse'),
  ...integer('PMAXSW', 'EE', wasm('i16x8.max_s'), 'sse'),
  ...integer('PAND', 'DB', wasm('v128.and'), 'mmx'),
  ...integer('PANDN', 'DF', (x, y) => v('andnot', y, x), 'mmx'),
  ...integer('POR', 'EB', wasm('v128.or'), 'mmx'),
  ...integer('PXOR', 'EF', wasm('v128.xor'), 'mmx'),
  ...integer('PCMPEQB', '74', wasm('i8x16.eq'), 'mmx'),
  ...integer('PCMPEQW', '75', wasm('i16x8.eq'), 'mmx'),
  ...integer('PCMPEQD', '76', wasm('i32x4.eq'), 'mmx'),
  ...integer('PCMPGTB', '64', wasm('i8x16.gt_s'), 'mmx'),
  ...integer('PCMPGTW', '65', wasm('i16x8.gt_s'), 'mmx'),
  ...integer('PCMPGTD', '66', wasm('i32x4.gt_s'), 'mmx'),
  ...integer('PACKSSWB', '63', wasm('i8x16.narrow_i16x8_s'), 'mmx', joined(wasm('i8x16.narrow_i16x8_s'))),
  ...integer('PACKUSWB', '67', wasm('i8x16.narrow_i16x8_u'), 'mmx', joined(wasm('i8x16.narrow_i16x8_u'))),
  ...integer('PACKSSDW', '6B', wasm('i16x8.narrow_i32x4_s'), 'mmx', joined(wasm('i16x8.narrow_i32x4_s'))),
  ...unpack('PUNPCKLBW', '60', 1, false),
  ...unpack('PUNPCKLWD', '61', 2, false),
  ...unpack('PUNPCKLDQ', '62', 4, false),
  ...unpack('PUNPCKLQDQ', '6C', 8, false),
  ...unpack('PUNPCKHBW', '68', 1, true),
  ...unpack('PUNPCKHWD', '69', 2, true),
  ...unpack('PUNPCKHDQ', '6A', 4, true),
  ...unpack('PUNPCKHQDQ', '6D', 8, true),
  ...shiftTable,

  ...integer38(
    'PSHUFB',
    '00',
    'ssse3',
    (x, y) => op('i8x16.swizzle', x, v('and', y, lanes(1, 0x8f))),
    (x, y) => op('i8x16.swizzle', x, v('and', y, lanes(1, 0x87))),
  ),
  ...integer38('PHADDW', '01', 'ssse3', horizontal(2, 'i16x8.add'), joined(horizontal(2, 'i16x8.add'))),
  ...integer38('PHADDD', '02', 'ssse3', horizontal(4, 'i32x4.add'), joined(horizontal(4, 'i32x4.add'))),
  ...integer38('PHADDSW', '03', 'ssse3', horizontal(2, 'i16x8.add_sat_s'), joined(horizontal(2, 'i16x8.add_sat_s'))),
  ...integer38('PMADDUBSW', '04', 'ssse3', multiplyAddBytes),
  ...integer38('PHSUBW', '05', 'ssse3', horizontal(2, 'i16x8.sub'), joined(horizontal(2, 'i16x8.sub'))),
  ...integer38('PHSUBD', '06', 'ssse3', horizontal(4, 'i32x4.sub'), joined(horizontal(4, 'i32x4.sub'))),
  ...integer38('PHSUBSW', '07', 'ssse3', horizontal(2, 'i16x8.sub_sat_s'), joined(horizontal(2, 'i16x8.sub_sat_s'))),
  ...integer38('PSIGNB', '08', 'ssse3', sign('i8x16', 8)),
  ...integer38('PSIGNW', '09', 'ssse3', sign('i16x8', 16)),
  ...integer38('PSIGND', '0A', 'ssse3', sign('i32x4', 32)),
  ...integer38('PMULHRSW', '0B', 'ssse3', roundedProducts),
  ...abs38('PABSB', '1C', wasm1('i8x16.abs')),
  ...abs38('PABSW', '1D', wasm1('i16x8.abs')),
  ...abs38('PABSD', '1E', wasm1('i32x4.abs')),
  ...both('PALIGNR', '66.0F3A 0F', 'Vx,Hx,Wx,Ibu', withImmediate(align), { cpuid: 'ssse3' }),
  row('PALIGNR', 'NP 0F 3A 0F', 'Pq,Qq,Ibu', mmxAlign, { cpuid: 'ssse3', unit: 'mmx' }),

  ...integer38('PMULDQ', '28', 'sse4_1', evenProducts('s')),
  ...integer38('PCMPEQQ', '29', 'sse4_1', wasm('i64x2.eq')),
  ...integer38('PACKUSDW', '2B', 'sse4_1', wasm('i16x8.narrow_i32x4_u')),
  ...integer38('PCMPGTQ', '37', 'sse4_2', wasm('i64x2.gt_s')),
  ...integer38('PMINSB', '38', 'sse4_1', wasm('i8x16.min_s')),
  ...integer38('PMINSD', '39', 'sse4_1', wasm('i32x4.min_s')),
  ...integer38('PMINUW', '3A', 'sse4_1', wasm('i16x8.min_u')),
  ...integer38('PMINUD', '3B', 'sse4_1', wasm('i32x4.min_u')),
  ...integer38('PMAXSB', '3C', 'sse4_1', wasm('i8x16.max_s')),
  ...integer38('PMAXSD', '3D', 'sse4_1', wasm('i32x4.max_s')),
  ...integer38('PMAXUW', '3E', 'sse4_1', wasm('i16x8.max_u')),
  ...integer38('PMAXUD', '3F', 'sse4_1', wasm('i32x4.max_u')),
  ...integer38('PMULLD', '40', 'sse4_1', wasm('i32x4.mul')),
  ...both('PHMINPOSUW', '66.0F38 41', 'Vdq,Wdq', unary(minimumPosition), { cpuid: 'sse4_1', vex: '128' }),
  ...both('MPSADBW', '66.0F3A 42', 'Vx,Hx,Wx,Ibu', withImmediate(blockDifferences), { cpuid: 'sse4_1' }),
];
