/** AES-NI and PCLMULQDQ with their 256-bit forms (SDM vol. 2; FIPS 197). */
import {
  and,
  type Builder,
  type Expr,
  i32,
  i64,
  type LibraryFunction,
  lane,
  mul,
  op,
  or,
  select,
  shl,
  shrU,
  shuffle,
  v128,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { v } from './fp.ts';
import { type Feature, type Row, row } from './row.ts';
import { avx, lanes, source, writeHalves } from './vec.ts';

// ---- AES: a 16-byte state, column after column ----

/** The S-box of FIPS 197, 5.1.1: inverse in GF(2^8) modulo 11B, then an affine map. */
function substitution(): Uint8Array {
  const box = new Uint8Array(256);
  let p = 1; // runs through the powers of 3
  let q = 1; // its inverse: the powers of 1/3 = F6
  do {
    p = (p ^ (p << 1) ^ (p & 0x80 ? 0x11b : 0)) & 0xff;
    q ^= q << 1;
    q ^= q << 2;
    q = (q ^ (q << 4)) & 0xff;
    if (q & 0x80) q ^= 0x09;
    const turn = (n: number) => ((q << n) | (q >> (8 - n))) & 0xff;
    box[p] = q ^ turn(1) ^ turn(2) ^ turn(3) ^ turn(4) ^ 0x63;
  } while (p !== 1);
  box[0] = 0x63;
  return box;
}
function inverse(box: Uint8Array): Uint8Array {
  const out = new Uint8Array(256);
  box.forEach((to, from) => {
    out[to] = from;
  });
  return out;
}

/** A byte-wise table lookup: sixteen 16-byte tables, of which swizzle lets only the one that is meant answer. */
const lookupFunction = (name: string, table: () => Uint8Array): LibraryFunction => ({
  name,
  params: ['v128'],
  result: 'v128',
  body(b, x) {
    const values = table();
    const out = b.variable(op('i8x16.swizzle', v128(values.subarray(0, 16)), x));
    const index = b.variable(x);
    for (let i = 16; i < 256; i += 16) {
      b.set(index, op('i8x16.sub', index, lanes(1, 16)));
      b.set(out, v('or', out, op('i8x16.swizzle', v128(values.subarray(i, i + 16)), index)));
    }
    return out;
  },
});

const permute = (x: Expr, order: readonly number[]): Expr => shuffle(x, x, order);
const shiftRows = (x: Expr): Expr => permute(x, [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11]);
const inverseShiftRows = (x: Expr): Expr => permute(x, [0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3]);
/** Row r takes row r + n of its column. */
const rotateColumn = (x: Expr, n: number): Expr =>
  permute(
    x,
    Array.from({ length: 16 }, (_, i) => (i & 12) | ((i + n) & 3)),
  );
/** Bytes times 2 in GF(2^8). */
const double = (x: Expr): Expr =>
  v('xor', op('i8x16.shl', x, i32(1)), v('and', op('i8x16.shr_s', x, i32(7)), lanes(1, 0x1b)));

function mixColumns(b: Builder, x: Expr): Expr {
  const next = b.let(rotateColumn(x, 1));
  return v('xor', v('xor', double(b.let(v('xor', x, next))), next), v('xor', rotateColumn(x, 2), rotateColumn(x, 3)));
}
/** The inverse's matrix is MixColumns' times {5, 0, 4, 0}. */
function inverseMixColumns(b: Builder, x: Expr): Expr {
  const twice = b.let(double(b.let(v('xor', x, rotateColumn(x, 2)))));
  return mixColumns(b, b.let(v('xor', x, double(twice))));
}

type Round = (b: X86Builder, state: Expr) => Expr;
const encryptLast: Round = (b, x) => b.let(b.call('aes_substitute', shiftRows(x)));
const encrypt: Round = (b, x) => mixColumns(b, encryptLast(b, x));
const decryptLast: Round = (b, x) => b.let(b.call('aes_substitute_inverse', inverseShiftRows(x)));
const decrypt: Round = (b, x) => inverseMixColumns(b, decryptLast(b, x));

function rounds(mnemonic: string, opcode: string, round: Round): Row[] {
  const semantics: Semantics = (b) =>
    writeHalves(b, (half) => {
      const key = b.let(b.readVector(source(b) + 1, half));
      return v('xor', round(b, b.let(b.readVector(source(b), half))), key);
    });
  return [
    row(mnemonic, `66 0F 38 ${opcode}`, 'Vdq,Wdq', semantics, { cpuid: 'aes', unit: 'sse', aligned: true }),
    avx(`V${mnemonic}`, `L0.66.0F38 ${opcode}`, 'Vdq,Hdq,Wdq', semantics, { cpuid: 'aes' }),
    avx(`V${mnemonic}`, `L1.66.0F38 ${opcode}`, 'Vx,Hx,Wx', semantics, { cpuid: 'vaes' }),
  ];
}

/** AESKEYGENASSIST: dwords 1 and 3 substituted, plain and rotated with the round constant. */
const keyAssist: Semantics = (b) => {
  const words = b.let(b.call('aes_substitute', b.readVector(1)));
  const chosen = permute(words, [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12]);
  b.writeVector(0, v('xor', chosen, v('and', op('i32x4.splat', b.immediate(2)), lanes(4, 0, 0xff))));
};
const single128 = (feature: Feature) => ({ cpuid: feature, unit: 'sse', aligned: true }) as const;

// ---- carry-less multiplication ----

/**
 * The low 64 bits of a carry-less product by integer multiplications of every fourth bit: no column sums to more than
 * 15 below bit 60, so that carries stay out of the columns that are kept.
 */
function lowProduct(b: Builder, x: Expr, y: Expr): Expr {
  const every4th = (e: Expr, n: number) => b.let(and(e, i64(0x1111111111111111n << BigInt(n))));
  const xs = [0, 1, 2, 3].map((n) => every4th(x, n));
  const ys = [0, 1, 2, 3].map((n) => every4th(y, n));
  const column = (n: number) =>
    and([0, 1, 2, 3].map((i) => mul(xs[i], ys[(n - i) & 3])).reduce(xor), i64(0x1111111111111111n << BigInt(n)));
  return b.let([0, 1, 2, 3].map(column).reduce(or));
}

/** The bits of an i64 in the other order. */
function reverseBits(b: Builder, x: Expr): Expr {
  const swap = (e: Expr, mask: bigint, n: number) =>
    b.let(or(and(shrU(e, i64(n)), i64(mask)), shl(and(e, i64(mask)), i64(n))));
  const inBytes = swap(swap(swap(x, 0x5555555555555555n, 1), 0x3333333333333333n, 2), 0x0f0f0f0f0f0f0f0fn, 4);
  const bytes = op('i64x2.splat', inBytes);
  return b.let(
    lane(
      'i64x2.extract_lane',
      0,
      shuffle(
        bytes,
        bytes,
        Array.from({ length: 16 }, (_, i) => 7 - (i & 7)),
      ),
    ),
  );
}

/** `clmul` (x, y): the 128-bit carry-less product. The high half is the low half of the reversed factors, reversed. */
const carrylessProduct: LibraryFunction = {
  name: 'clmul',
  params: ['i64', 'i64'],
  result: 'v128',
  body(b, x, y) {
    const low = lowProduct(b, x, y);
    const high = shrU(reverseBits(b, lowProduct(b, reverseBits(b, x), reverseBits(b, y))), i64(1));
    return lane('i64x2.replace_lane', 1, op('i64x2.splat', low), high);
  },
};

const multiplyCarryless: Semantics = (b) => {
  const imm = b.immediate(source(b) + 2);
  const quadword = (e: Expr, bit: number) =>
    select(and(imm, i32(bit)), lane('i64x2.extract_lane', 1, e), lane('i64x2.extract_lane', 0, e));
  writeHalves(b, (half) => {
    const x = b.let(b.readVector(source(b), half));
    const y = b.let(b.readVector(source(b) + 1, half));
    return b.call('clmul', quadword(x, 1), quadword(y, 0x10));
  });
};

export const cryptoLibrary: readonly LibraryFunction[] = [
  lookupFunction('aes_substitute', substitution),
  lookupFunction('aes_substitute_inverse', () => inverse(substitution())),
  carrylessProduct,
];

export const cryptoRows: readonly Row[] = [
  ...rounds('AESENC', 'DC', encrypt),
  ...rounds('AESENCLAST', 'DD', encryptLast),
  ...rounds('AESDEC', 'DE', decrypt),
  ...rounds('AESDECLAST', 'DF', decryptLast),
  row(
    'AESIMC',
    '66 0F 38 DB',
    'Vdq,Wdq',
    (b) => b.writeVector(0, inverseMixColumns(b, b.let(b.readVector(1)))),
    single128('aes'),
  ),
  avx('VAESIMC', 'L0.66.0F38 DB', 'Vdq,Wdq', (b) => b.writeVector(0, inverseMixColumns(b, b.let(b.readVector(1)))), {
    cpuid: 'aes',
  }),
  row('AESKEYGENASSIST', '66 0F 3A DF', 'Vdq,Wdq,Ibu', keyAssist, single128('aes')),
  avx('VAESKEYGENASSIST', 'L0.66.0F3A DF', 'Vdq,Wdq,Ibu', keyAssist, { cpuid: 'aes' }),
  row('PCLMULQDQ', '66 0F 3A 44', 'Vdq,Wdq,Ibu', multiplyCarryless, single128('pclmulqdq')),
  avx('VPCLMULQDQ', 'L0.66.0F3A 44', 'Vdq,Hdq,Wdq,Ibu', multiplyCarryless, { cpuid: 'pclmulqdq' }),
  avx('VPCLMULQDQ', 'L1.66.0F3A 44', 'Vx,Hx,Wx,Ibu', multiplyCarryless, { cpuid: 'vpclmulqdq' }),
];
