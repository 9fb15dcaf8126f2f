/** Shuffles, blends, inserts, extracts, widening moves and PTEST (SSE to SSE4.1 with their MMX and AVX forms). */
import { and, type Expr, i32, op, or, select, shrU } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { flag, xmm } from '../state.ts';
import { type Format, v } from './fp.ts';
import { type Feature, type Row, row } from './row.ts';
import { floats } from './sse-float.ts';
import {
  avx,
  binary,
  bit,
  both,
  bytesDown,
  dwordIndices,
  enterMmx,
  extractLane,
  fieldsOf,
  type Immediate,
  insertLane,
  lanes,
  low64,
  lowLane,
  ones128,
  pick,
  readMmx,
  source,
  unaryImmediate,
  withImmediate,
  wordIndices,
  writeHalves,
  writeMmx,
  zero128,
} from './vec.ts';

const swizzle = (x: Expr, indices: Expr): Expr => op('i8x16.swizzle', x, indices);

// ---- shuffles within one source ----

/** PSHUFD: four dwords by the immediate's 2-bit fields. */
export const shuffleDwords = (x: Expr, imm: Expr): Expr =>
  imm.kind === 'const' ? pick(4, x, x, ...fieldsOf(imm.value as number)) : swizzle(x, dwordIndices(imm));

/** Four words of the low (`high` false) or high half; the other half is kept. */
const shuffleWords =
  (high: boolean) =>
  (x: Expr, imm: Expr): Expr => {
    if (imm.kind === 'const') {
      const chosen = fieldsOf(imm.value as number);
      return pick(2, x, x, ...(high ? [0, 1, 2, 3, ...chosen.map((n) => n + 4)] : [...chosen, 4, 5, 6, 7]));
    }
    const shuffled = swizzle(x, wordIndices(imm));
    return high ? pick(8, x, shuffled, 0, 3) : pick(8, shuffled, x, 0, 3);
  };

// ---- shuffles of two sources ----

const shuffleSingles: Immediate = (x, y, imm, b) => {
  if (imm.kind === 'const') {
    const [p, q, r, s] = fieldsOf(imm.value as number);
    return pick(4, x, y, p, q, r + 4, s + 4);
  }
  const indices = b.let(dwordIndices(imm));
  return pick(8, swizzle(x, indices), swizzle(y, indices), 0, 3);
};
/** SHUFPD: bit 0 (2 for the upper half) chooses from x, bit 1 (3) from y. */
const shuffleDoubles: Immediate = (x, y, imm, _b, half) => {
  const chosen = (e: Expr, n: number) => select(bit(imm, 2 * half + n), pick(8, e, e, 1, 0), e);
  return pick(8, chosen(x, 0), chosen(y, 1), 0, 2);
};

const unpackFloats = (f: Format, high: boolean): Semantics =>
  binary((x, y) =>
    f.size === 8
      ? pick(8, x, y, high ? 1 : 0, high ? 3 : 2)
      : high
        ? pick(4, x, y, 2, 6, 3, 7)
        : pick(4, x, y, 0, 4, 1, 5),
  );

// ---- blends ----

/** Lanes of y where the mask is ones, of x elsewhere. */
const blend = (mask: Expr, x: Expr, y: Expr): Expr => v('bitselect', y, x, mask);

/** A mask of `size`-byte lanes whose bits in the immediate, from bit `first` on, are set. */
function immediateMask(imm: Expr, size: 2 | 4 | 8, first: number): Expr {
  const count = 16 / size;
  const bits = Array.from({ length: count }, (_, i) => 1n << BigInt(i));
  const shape = { 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' }[size];
  const field = and(shrU(imm, i32(first)), i32((1 << count) - 1));
  const spread = op(`${shape}.splat`, size === 8 ? op('i64.extend_i32_u', field) : field);
  return op(`${shape}.ne`, v('and', spread, lanes(size, ...bits)), zero128);
}

/** Blends by the immediate; dwords and qwords go on with the next bits in the upper half, words begin again. */
const blendBy =
  (size: 2 | 4 | 8): Immediate =>
  (x, y, imm, _b, half) =>
    blend(immediateMask(imm, size, size === 2 ? 0 : (half * 16) / size), x, y);

/** Blend by the sign bits of lanes of a mask register: XMM0 in the legacy form, the fourth operand in the VEX form. */
function variableBlend(
  mnemonic: string,
  legacyOpcode: string,
  vexOpcode: string,
  shape: string,
  shift: number,
  wideFeature: Feature,
): Row[] {
  const signs = (mask: Expr) => op(`${shape}.shr_s`, mask, i32(shift));
  const semantics: Semantics = (b) =>
    writeHalves(b, (half) => {
      const mask = b.vex ? b.readVector(3, half) : b.get(xmm[0]);
      return blend(signs(mask), b.readVector(source(b), half), b.readVector(source(b) + 1, half));
    });
  return [
    row(mnemonic, `66 0F 38 ${legacyOpcode}`, 'Vx,Wx', semantics, { cpuid: 'sse4_1', unit: 'sse', aligned: true }),
    avx(`V${mnemonic}`, `L0.66.0F3A.W0 ${vexOpcode}`, 'Vx,Hx,Wx,Lx', semantics),
    avx(`V${mnemonic}`, `L1.66.0F3A.W0 ${vexOpcode}`, 'Vx,Hx,Wx,Lx', semantics, { cpuid: wideFeature }),
  ];
}

// ---- inserts and extracts ----

/** INSERTPS: a dword of the source (imm[7:6] chooses in a register) into lane imm[5:4], then zeroes by imm[3:0]. */
const insertSingle: Semantics = (b) => {
  const imm = b.immediate(source(b) + 2);
  const y = b.let(b.readVector(source(b) + 1));
  const value = extractLane(4, y, b.memory ? i32(0) : and(shrU(imm, i32(6)), i32(3)));
  const inserted = insertLane(4, b.readVector(source(b)), b.let(value), b.let(and(shrU(imm, i32(4)), i32(3))));
  b.writeVector(0, v('andnot', inserted, immediateMask(imm, 4, 0)));
};

/** PINSRx: an integer operand into a lane. */
function inserts(mnemonic: string, code: string, sources: readonly string[], size: 1 | 2, cpuid: Feature): Row[] {
  const semantics: Semantics = (b) =>
    b.writeVector(
      0,
      insertLane(size, b.let(b.readVector(source(b))), b.read(source(b) + 1), b.immediate(source(b) + 2)),
    );
  return sources.flatMap((s) => both(mnemonic, code, `Vdq,Hdq,${s},Ibu`, semantics, { cpuid, vex: '128' }));
}
const insertGeneral: Semantics = (b) => {
  const size = b.width(source(b) + 1) as 4 | 8;
  b.writeVector(0, insertLane(size, b.let(b.readVector(source(b))), b.read(source(b) + 1), b.immediate(source(b) + 2)));
};

/** PEXTRx to a general register (zero-extended) or memory. */
const extractTo =
  (size: 1 | 2 | 4 | 8 | 'operand'): Semantics =>
  (b) =>
    b.write(0, extractLane(size === 'operand' ? (b.width(0) as 4 | 8) : size, b.let(b.readVector(1)), b.immediate(2)));
const extracts = (mnemonic: string, code: string, size: 1 | 2, memory: string): Row[] => [
  ...both(mnemonic, code, 'Rd,Vdq,Ibu', extractTo(size), { cpuid: 'sse4_1', vex: '128' }),
  ...both(mnemonic, code, `${memory},Vdq,Ibu`, extractTo(size), { cpuid: 'sse4_1', vex: '128' }),
];

// ---- widening moves ----

/** PMOVSXxx and PMOVZXxx: repeated WebAssembly widenings of the low part of the source. */
function widening(mnemonic: string, opcode: number, from: 1 | 2 | 4, to: 2 | 4 | 8): Row[] {
  const steps = { 1: 'i16x8.extend_low_i8x16', 2: 'i32x4.extend_low_i16x8', 4: 'i64x2.extend_low_i32x4' };
  const widen = (x: Expr, sign: 's' | 'u') => {
    let out = x;
    for (let size = from as 1 | 2 | 4 | 8; size < to; size = (size * 2) as 2 | 4 | 8)
      out = op(`${steps[size as 1 | 2 | 4]}_${sign}`, out);
    return out;
  };
  const perHalf = (16 * from) / to;
  const sizes: Record<number, string> = { 2: 'w', 4: 'd', 8: 'q', 16: 'dq' };
  return (['s', 'u'] as const).flatMap((sign) => {
    const name = `PMOV${sign === 's' ? 'SX' : 'ZX'}${mnemonic}`;
    const code = (opcode + (sign === 's' ? 0x20 : 0x30)).toString(16).toUpperCase();
    const semantics: Semantics = (b) => {
      const x = b.let(b.readVector(1));
      b.writeVector(0, b.let(widen(x, sign)), b.vl === 32 ? b.let(widen(bytesDown(x, i32(perHalf)), sign)) : undefined);
    };
    return [
      ...both(name, `66.0F38 ${code}`, `Vdq,W${sizes[perHalf]}`, semantics, {
        cpuid: 'sse4_1',
        vex: '128',
        aligned: 'never',
      }),
      avx(`V${name}`, `L1.66.0F38 ${code}`, `Vx,W${sizes[perHalf * 2]}`, semantics, { cpuid: 'avx2' }),
    ];
  });
}

// ---- tests ----

/** ZF: (src and dest) is zero; CF: (src and not dest) is zero, both under `mask`; the other flags are cleared. */
export const testBits = (b: X86Builder, mask: Expr): void => {
  const ands: Expr[] = [];
  const andNots: Expr[] = [];
  for (const half of b.vl === 32 ? ([0, 1] as const) : ([0] as const)) {
    const x = b.let(b.readVector(0, half));
    const y = b.let(b.readVector(1, half));
    ands.push(v('and', v('and', x, y), mask));
    andNots.push(v('and', v('andnot', y, x), mask));
  }
  const none = (e: Expr[], bits: number) =>
    select(
      op(
        'v128.any_true',
        e.reduce((p, q) => v('or', p, q)),
      ),
      i32(0),
      i32(bits),
    );
  b.putFlags(or(none(ands, flag.ZF), none(andNots, flag.CF)));
};

export const shuffleRows: readonly Row[] = [
  ...both('PSHUFD', '66.0F 70', 'Vx,Wx,Ibu', unaryImmediate(shuffleDwords), { cpuid: 'sse2' }),
  ...both('PSHUFHW', 'F3.0F 70', 'Vx,Wx,Ibu', unaryImmediate(shuffleWords(true)), { cpuid: 'sse2' }),
  ...both('PSHUFLW', 'F2.0F 70', 'Vx,Wx,Ibu', unaryImmediate(shuffleWords(false)), { cpuid: 'sse2' }),
  row(
    'PSHUFW',
    'NP 0F 70',
    'Pq,Qq,Ibu',
    (b) => {
      const x = b.let(lowLane(readMmx(b, 1)));
      writeMmx(b, 0, low64(shuffleWords(false)(x, b.immediate(2))));
    },
    { cpuid: 'sse', unit: 'mmx' },
  ),
  ...both('SHUFPS', 'NP.0F C6', 'Vx,Hx,Wx,Ibu', withImmediate(shuffleSingles), { cpuid: 'sse', vex: 'avx' }),
  ...both('SHUFPD', '66.0F C6', 'Vx,Hx,Wx,Ibu', withImmediate(shuffleDoubles), { cpuid: 'sse2', vex: 'avx' }),
  ...floats('UNPCKL', '14', (f) => unpackFloats(f, false), ['PS', 'PD']),
  ...floats('UNPCKH', '15', (f) => unpackFloats(f, true), ['PS', 'PD']),

  ...both('PBLENDW', '66.0F3A 0E', 'Vx,Hx,Wx,Ibu', withImmediate(blendBy(2)), { cpuid: 'sse4_1' }),
  ...both('BLENDPS', '66.0F3A 0C', 'Vx,Hx,Wx,Ibu', withImmediate(blendBy(4)), { cpuid: 'sse4_1', vex: 'avx' }),
  ...both('BLENDPD', '66.0F3A 0D', 'Vx,Hx,Wx,Ibu', withImmediate(blendBy(8)), { cpuid: 'sse4_1', vex: 'avx' }),
  avx('VPBLENDD', 'L0.66.0F3A.W0 02', 'Vx,Hx,Wx,Ibu', withImmediate(blendBy(4)), { cpuid: 'avx2' }),
  avx('VPBLENDD', 'L1.66.0F3A.W0 02', 'Vx,Hx,Wx,Ibu', withImmediate(blendBy(4)), { cpuid: 'avx2' }),
  ...variableBlend('PBLENDVB', '10', '4C', 'i8x16', 7, 'avx2'),
  ...variableBlend('BLENDVPS', '14', '4A', 'i32x4', 31, 'avx'),
  ...variableBlend('BLENDVPD', '15', '4B', 'i64x2', 63, 'avx'),

  ...both('INSERTPS', '66.0F3A 21', 'Vdq,Hdq,Wss,Ibu', insertSingle, { cpuid: 'sse4_1', vex: '128' }),
  ...inserts('PINSRB', '66.0F3A 20', ['Rd', 'Mb'], 1, 'sse4_1'),
  ...inserts('PINSRW', '66.0F C4', ['Ew'], 2, 'sse2'),
  ...both('PINSRD', '66.0F3A 22', 'Vdq,Hdq,Ey,Ibu', insertGeneral, { cpuid: 'sse4_1', vex: '128' }),
  row(
    'PINSRW',
    'NP 0F C4',
    'Pq,Ew,Ibu',
    (b) => {
      const value = b.read(1);
      writeMmx(b, 0, low64(insertLane(2, b.let(lowLane(readMmx(b, 0))), value, and(b.immediate(2), i32(3)))));
    },
    { cpuid: 'sse', unit: 'mmx' },
  ),
  ...extracts('PEXTRB', '66.0F3A 14', 1, 'Mb'),
  ...extracts('PEXTRW', '66.0F3A 15', 2, 'Mw'),
  ...both('PEXTRW', '66.0F C5', 'Gd,Udq,Ibu', extractTo(2), { cpuid: 'sse2', vex: '128' }),
  ...both('PEXTRD', '66.0F3A 16', 'Ey,Vdq,Ibu', extractTo('operand'), { cpuid: 'sse4_1', vex: '128' }),
  ...both('EXTRACTPS', '66.0F3A 17', 'Ed,Vdq,Ibu', extractTo(4), { cpuid: 'sse4_1', vex: '128' }),
  row(
    'PEXTRW',
    'NP 0F C5',
    'Gd,Nq,Ibu',
    (b) => {
      b.write(0, extractLane(2, b.let(lowLane(readMmx(b, 1))), and(b.immediate(2), i32(3))));
      enterMmx(b);
    },
    { cpuid: 'sse', unit: 'mmx' },
  ),

  ...widening('BW', 0, 1, 2),
  ...widening('BD', 1, 1, 4),
  ...widening('BQ', 2, 1, 8),
  ...widening('WD', 3, 2, 4),
  ...widening('WQ', 4, 2, 8),
  ...widening('DQ', 5, 4, 8),
  ...both('PTEST', '66.0F38 17', 'Vx,Wx', (b) => testBits(b, ones128), { cpuid: 'sse4_1', vex: 'avx' }),
];
