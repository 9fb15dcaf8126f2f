/** Moves between vector registers, memory and general registers, MMX to AVX. */
import { type Expr, i32, lane, op, or, shl } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { fpuTags, fpuTop } from '../state.ts';
import { double, type Format, mergeLane0, single } from './fp.ts';
import { type Row, row } from './row.ts';
import { avx, both, enterMmx, type Form, low64, lowLane, pick, plus, readMmx, source, unary, writeMmx } from './vec.ts';

// ---- whole registers ----

const move = unary((x) => x);

/** Load and store rows of a full-width move. */
function moves(mnemonic: string, prefix: string, load: string, store: string, form: Form): Row[] {
  return [
    ...both(mnemonic, `${prefix}.0F ${load}`, 'Vx,Wx', move, { vex: 'avx', ...form }),
    ...both(mnemonic, `${prefix}.0F ${store}`, 'Wx,Vx', move, { vex: 'avx', ...form }),
  ];
}
const unaligned = { aligned: 'never' } as const;
const aligned = { aligned: 'always' } as const;

// ---- scalars ----

/** MOVSS, MOVSD: a load clears the rest of the register, a move between registers keeps it. */
function scalarMoves(mnemonic: string, f: Format, prefix: string): Row[] {
  const size = f.size === 4 ? 'ss' : 'sd';
  const cpuid = f.size === 4 ? 'sse' : 'sse2';
  const load: Semantics = (b) => b.writeVector(0, b.readVector(1));
  const store: Semantics = (b) => storeLane(b, f);
  const merge: Semantics = (b) =>
    b.writeVector(0, mergeLane0(f, b.let(b.readVector(source(b) + 1)), b.let(b.readVector(source(b)))));
  const options = { cpuid, unit: 'sse' } as const;
  return [
    row(mnemonic, `${prefix} 0F 10`, `V${size},M${size}`, load, options),
    row(mnemonic, `${prefix} 0F 10`, `V${size},U${size}`, merge, options),
    row(mnemonic, `${prefix} 0F 11`, `M${size},V${size}`, store, options),
    row(mnemonic, `${prefix} 0F 11`, `U${size},V${size}`, merge, options),
    avx(`V${mnemonic}`, `${prefix}.0F 10`, `V${size},M${size}`, load),
    avx(`V${mnemonic}`, `${prefix}.0F 10`, `V${size},H${size},U${size}`, merge),
    avx(`V${mnemonic}`, `${prefix}.0F 11`, `M${size},V${size}`, store),
    avx(`V${mnemonic}`, `${prefix}.0F 11`, `U${size},H${size},V${size}`, merge),
  ];
}

/** Stores lane 0 of operand 1 to memory operand 0. */
function storeLane(b: X86Builder, f: Format): void {
  b.store(b.address(0, f.size, true), f.size, lane(`${f.ints}.extract_lane`, 0, b.readVector(1)));
}

// ---- halves of a register ----

/** Loads 8 bytes into one half, the other from the first source; stores that half. */
function halfMoves(mnemonic: string, prefix: string, opcode: string, cpuid: 'sse' | 'sse2', high: boolean): Row[] {
  const load: Semantics = (b) => {
    const y = b.let(b.readVector(source(b) + 1));
    const x = b.let(b.readVector(source(b)));
    b.writeVector(0, high ? pick(8, x, y, 0, 2) : pick(8, y, x, 0, 3));
  };
  const store: Semantics = (b) =>
    b.store(b.address(0, 8, true), 8, lane('i64x2.extract_lane', high ? 1 : 0, b.readVector(1)));
  const storeOpcode = (Number.parseInt(opcode, 16) + 1).toString(16);
  return [
    ...both(mnemonic, `${prefix}.0F ${opcode}`, 'Vq,Hq,Mq', load, { cpuid, vex: '128' }),
    ...both(mnemonic, `${prefix}.0F ${storeOpcode}`, 'Mq,Vq', store, { cpuid, vex: '128' }),
  ];
}

/** MOVHLPS and MOVLHPS. */
const crossMove = (mnemonic: string, opcode: string, choose: (x: Expr, y: Expr) => Expr): Row[] =>
  both(
    mnemonic,
    `NP.0F ${opcode}`,
    'Vdq,Hdq,Udq',
    (b) => b.writeVector(0, choose(b.let(b.readVector(source(b))), b.let(b.readVector(source(b) + 1)))),
    { cpuid: 'sse', vex: '128' },
  );

// ---- general registers ----

/** An integer operand as an i64. */
const asI64 = (e: Expr): Expr => (e.type === 'i64' ? e : op('i64.extend_i32_u', e));
const lowInteger = (b: X86Builder, i: number, v: Expr): Expr =>
  b.width(i) === 8 ? low64(v) : lane('i32x4.extract_lane', 0, v);
const fromGeneral: Semantics = (b) => b.writeVector(0, lowLane(asI64(b.read(1))));
const toGeneral: Semantics = (b) => b.write(0, lowInteger(b, 0, b.readVector(1)));

/** Sign bits of lanes as an integer. */
const signMask =
  (shape: string, count: number): Semantics =>
  (b) => {
    const low = op(`${shape}.bitmask`, b.readVector(1));
    b.write(0, b.vl === 32 ? or(low, shl(op(`${shape}.bitmask`, b.readVector(1, 1)), i32(count))) : low);
  };

// ---- masked stores through rDI ----

/**
 * Stores the bytes of `value` (the first `count`) whose mask byte has bit 7 set. Faults are for the whole operand,
 * whatever the mask: the manuals leave that open, CPUs do it.
 */
function storeBytes(b: X86Builder, value: Expr, mask: Expr, count: 8 | 16): void {
  const start = b.let(b.address(2, count, true));
  const chosen = b.let(op('i8x16.bitmask', mask));
  b.probeWrite(start, count);
  for (let i = 0; i < count; i++) {
    b.if(op('i32.and', chosen, i32(1 << i)), () => b.store(plus(start, i), 1, lane('i8x16.extract_lane_u', i, value)));
  }
}

const maskMoveMmx: Semantics = (b) => {
  enterMmx(b); // before the store: seen when it faults
  storeBytes(b, b.let(lowLane(readMmx(b, 0))), lowLane(readMmx(b, 1)), 8);
};

const mmxOptions = { cpuid: 'mmx', unit: 'mmx' } as const;
const mmx1 = { cpuid: 'sse', unit: 'mmx' } as const;
const mmx2 = { cpuid: 'sse2', unit: 'mmx' } as const;

export const moveRows: readonly Row[] = [
  ...moves('MOVUPS', 'NP', '10', '11', { cpuid: 'sse', ...unaligned }),
  ...moves('MOVUPD', '66', '10', '11', { cpuid: 'sse2', ...unaligned }),
  ...moves('MOVAPS', 'NP', '28', '29', { cpuid: 'sse', ...aligned }),
  ...moves('MOVAPD', '66', '28', '29', { cpuid: 'sse2', ...aligned }),
  ...moves('MOVDQA', '66', '6F', '7F', { cpuid: 'sse2', ...aligned }),
  ...moves('MOVDQU', 'F3', '6F', '7F', { cpuid: 'sse2', ...unaligned }),
  ...both('LDDQU', 'F2.0F F0', 'Vx,Mx', move, { cpuid: 'sse3', vex: 'avx', ...unaligned }),
  ...both('MOVNTPS', 'NP.0F 2B', 'Mx,Vx', move, { cpuid: 'sse', vex: 'avx', ...aligned }),
  ...both('MOVNTPD', '66.0F 2B', 'Mx,Vx', move, { cpuid: 'sse2', vex: 'avx', ...aligned }),
  ...both('MOVNTDQ', '66.0F E7', 'Mx,Vx', move, { cpuid: 'sse2', vex: 'avx', ...aligned }),
  ...both('MOVNTDQA', '66.0F38 2A', 'Vx,Mx', move, { cpuid: 'sse4_1', ...aligned }),
  row('MOVNTI', 'NP 0F C3', 'My,Gy', (b) => b.write(0, b.read(1)), { cpuid: 'sse2' }),

  ...scalarMoves('MOVSS', single, 'F3'),
  ...scalarMoves('MOVSD', double, 'F2'),
  ...halfMoves('MOVLPS', 'NP', '12', 'sse', false),
  ...halfMoves('MOVLPD', '66', '12', 'sse2', false),
  ...halfMoves('MOVHPS', 'NP', '16', 'sse', true),
  ...halfMoves('MOVHPD', '66', '16', 'sse2', true),
  ...crossMove('MOVHLPS', '12', (x, y) => pick(8, y, x, 1, 3)),
  ...crossMove('MOVLHPS', '16', (x, y) => pick(8, x, y, 0, 2)),

  ...both('MOVD', '66.0F 6E', 'Vdq,Ey', fromGeneral, { cpuid: 'sse2', vex: '128' }),
  ...both('MOVD', '66.0F 7E', 'Ey,Vdq', toGeneral, { cpuid: 'sse2', vex: '128' }),
  ...both('MOVQ', 'F3.0F 7E', 'Vq,Wq', (b) => b.writeVector(0, lowLane(low64(b.readVector(1)))), {
    cpuid: 'sse2',
    vex: '128',
  }),
  ...both(
    'MOVQ',
    '66.0F D6',
    'Wq,Vq',
    (b) => {
      if (b.memory) storeLane(b, double);
      else b.writeVector(0, lowLane(low64(b.readVector(1))));
    },
    { cpuid: 'sse2', vex: '128' },
  ),
  row('MOVD', 'NP 0F 6E', 'Pq,Ey', (b) => writeMmx(b, 0, asI64(b.read(1))), mmxOptions),
  row(
    'MOVD',
    'NP 0F 7E',
    'Ey,Pq',
    (b) => {
      const value = b.let(readMmx(b, 1));
      b.write(0, b.width(0) === 8 ? value : op('i32.wrap_i64', value));
      enterMmx(b);
    },
    mmxOptions,
  ),
  row('MOVQ', 'NP 0F 6F', 'Pq,Qq', (b) => writeMmx(b, 0, readMmx(b, 1)), mmxOptions),
  row('MOVQ', 'NP 0F 7F', 'Qq,Pq', (b) => storeMmx(b), mmxOptions),
  row('MOVNTQ', 'NP 0F E7', 'Mq,Pq', (b) => storeMmx(b), mmx1),
  row('MOVDQ2Q', 'F2 0F D6', 'Pq,Uq', (b) => writeMmx(b, 0, low64(b.readVector(1))), mmx2),
  row(
    'MOVQ2DQ',
    'F3 0F D6',
    'Vdq,Nq',
    (b) => {
      b.writeVector(0, lowLane(readMmx(b, 1)));
      enterMmx(b);
    },
    mmx2,
  ),
  row(
    'EMMS',
    'NP 0F 77',
    '',
    (b) => {
      b.put(fpuTop, i32(0));
      b.put(fpuTags, i32(0));
    },
    mmxOptions,
  ),

  ...both('MOVMSKPS', 'NP.0F 50', 'Gd,Ups', signMask('i32x4', 4), { cpuid: 'sse', vex: 'avx' }),
  ...both('MOVMSKPD', '66.0F 50', 'Gd,Upd', signMask('i64x2', 2), { cpuid: 'sse2', vex: 'avx' }),
  ...both('PMOVMSKB', '66.0F D7', 'Gd,Ux', signMask('i8x16', 16), { cpuid: 'sse2' }),
  row(
    'PMOVMSKB',
    'NP 0F D7',
    'Gd,Nq',
    (b) => {
      b.write(0, op('i8x16.bitmask', lowLane(readMmx(b, 1))));
      enterMmx(b);
    },
    mmx1,
  ),
  ...both('MASKMOVDQU', '66.0F F7', 'Vdq,Udq,Kdq', (b) => storeBytes(b, b.readVector(0), b.readVector(1), 16), {
    cpuid: 'sse2',
    vex: '128',
    by: ['asize'],
    aligned: 'never',
  }),
  row('MASKMOVQ', 'NP 0F F7', 'Pq,Nq,Kq', maskMoveMmx, { ...mmx1, by: ['asize'] }),

  row('MOVDDUP', 'F2 0F 12', 'Vdq,Wq', (b) => duplicateLow(b), { cpuid: 'sse3', unit: 'sse' }),
  avx('VMOVDDUP', 'L0.F2.0F 12', 'Vdq,Wq', (b) => duplicateLow(b)),
  avx(
    'VMOVDDUP',
    'L1.F2.0F 12',
    'Vx,Wx',
    unary((x) => pick(8, x, x, 0, 0)),
  ),
  ...both(
    'MOVSLDUP',
    'F3.0F 12',
    'Vx,Wx',
    unary((x) => pick(4, x, x, 0, 0, 2, 2)),
    { cpuid: 'sse3', vex: 'avx' },
  ),
  ...both(
    'MOVSHDUP',
    'F3.0F 16',
    'Vx,Wx',
    unary((x) => pick(4, x, x, 1, 1, 3, 3)),
    { cpuid: 'sse3', vex: 'avx' },
  ),
];

function duplicateLow(b: X86Builder): void {
  const x = b.let(b.readVector(1));
  b.writeVector(0, pick(8, x, x, 0, 0));
}

/** MOVQ mm/m64, mm. */
function storeMmx(b: X86Builder): void {
  const value = b.let(readMmx(b, 1));
  if (!b.inMemory(0)) {
    writeMmx(b, 0, value);
    return;
  }
  b.store(b.address(0, 8, true), 8, value);
  enterMmx(b);
}
