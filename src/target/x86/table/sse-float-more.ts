/** Float operations beyond the plain arithmetic: SSE3's horizontal and alternating sums, SSE4.1's dot products and rounding, reciprocal approximations, logic. */
import {
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  i32,
  type LibraryFunction,
  ne,
  op,
  or,
  select,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { mxcsr } from '../state.ts';
import {
  allLanes,
  bitsOf,
  double,
  type Format,
  fastInexact,
  lane0Of,
  mergeLane0,
  noDaz,
  on,
  readHalves,
  readPairs,
  single,
  slowlyUnless,
  v,
  withLane,
  writeAll,
} from './fp.ts';
import { type Arithmetic, arithmetic } from './fp-arithmetic.ts';
import type { Row } from './row.ts';
import { floats } from './sse-float.ts';
import { binary, bit, both, lanes, pick, source, wasm, writeHalves, zero128 } from './vec.ts';

// ---- SSE3 sums ----

/** Even lanes of x then y, or the odd ones. */
const lanesOf = (f: Format, x: Expr, y: Expr, odd: 0 | 1): Expr =>
  f.size === 4 ? pick(4, x, y, odd, 2 + odd, 4 + odd, 6 + odd) : pick(8, x, y, odd, 2 + odd);

const sums =
  (f: Format, name: Arithmetic, horizontal: boolean): Semantics =>
  (b) => {
    const pairs = readPairs(b);
    const operands = horizontal
      ? pairs.map(([x, y]): [Expr, Expr] => [b.let(lanesOf(f, x, y, 0)), b.let(lanesOf(f, x, y, 1))])
      : pairs;
    writeAll(b, arithmetic(b, f, name, operands));
  };

const sumRows = (mnemonic: string, opcode: string, name: Arithmetic, horizontal: boolean): Row[] => [
  ...both(`${mnemonic}PS`, `F2.0F ${opcode}`, 'Vps,Hps,Wps', sums(single, name, horizontal), {
    cpuid: 'sse3',
    vex: 'avx',
  }),
  ...both(`${mnemonic}PD`, `66.0F ${opcode}`, 'Vpd,Hpd,Wpd', sums(double, name, horizontal), {
    cpuid: 'sse3',
    vex: 'avx',
  }),
];

// ---- dot products ----

/** All ones in the lanes whose bit of the immediate is set, from bit `first` on. */
function laneMask(b: X86Builder, f: Format, imm: Expr, first: number): Expr {
  const mask = b.variable(zero128);
  for (let i = 0; i < f.count; i++) {
    const ones = op('i32.sub', i32(0), bit(imm, first + i));
    b.set(mask, withLane(f, mask, f.bits === 'i64' ? op('i64.extend_i32_s', ones) : ones, i));
  }
  return mask;
}

/** DPPS, DPPD: products of the lanes in imm[7:4], summed pairwise, the sum in the lanes of imm[3:0]. Lanes left out are zero products. */
const dotProduct =
  (f: Format): Semantics =>
  (b) => {
    const imm = b.immediate(source(b) + 2);
    const chosen = laneMask(b, f, imm, 4);
    const kept = laneMask(b, f, imm, 0);
    const masked = readPairs(b).map(([x, y]): [Expr, Expr] => [b.let(v('and', x, chosen)), b.let(v('and', y, chosen))]);
    let sum = arithmetic(b, f, 'mul', masked);
    for (let count = f.count; count > 1; count /= 2) {
      sum = arithmetic(
        b,
        f,
        'add',
        sum.map((p): [Expr, Expr] => [b.let(lanesOf(f, p, p, 0)), b.let(lanesOf(f, p, p, 1))]),
      );
    }
    writeAll(
      b,
      sum.map((s) => b.let(v('and', s, kept))),
    );
  };

// ---- rounding to an integral value ----

const roundFunction = (f: Format): LibraryFunction => ({
  name: `sse_round_${f.shape}`,
  params: ['v128', 'i32', 'i32'],
  result: 'v128',
  body(b, x, imm, lane0Only) {
    const m = b.get(mxcsr);
    const out = b.variable(x);
    const round = (i: number) => b.set(out, withLane(f, out, b.call(`${f.float}_round`, bitsOf(f, x, i), imm, m), i));
    round(0);
    b.if(op('i32.eqz', lane0Only), () => {
      for (let i = 1; i < f.count; i++) round(i);
    });
    return out;
  },
});

/** The rounding by mode number (nearest, down, up, zero), as WebAssembly does it. */
function roundBy(b: Builder, f: Format, x: Expr, mode: Expr): Expr {
  const names = ['nearest', 'floor', 'ceil', 'trunc'];
  if (mode.kind === 'const') return on(f, names[mode.value as number], x);
  const out = b.variable(on(f, 'nearest', x));
  for (const i of [1, 2, 3]) b.if(eq(mode, i32(i)), () => b.set(out, on(f, names[i], x)));
  return out;
}

/**
 * Each of `xs` rounded as `imm` says; with `scalar` only lane 0 counts. Fast: no NaN, no DAZ, no PE to raise (imm[3],
 * or it is set already), and where the mode is MXCSR's (imm[2]) that is nearest.
 */
function rounded(b: X86Builder, f: Format, xs: readonly Expr[], imm: Expr, scalar: boolean): Expr[] {
  const viaMxcsr = and(imm, i32(4));
  const mode = select(viaMxcsr, i32(0), and(imm, i32(3)));
  const results = xs.map((x) => b.variable(roundBy(b, f, x, mode.kind === 'const' ? mode : b.let(mode))));
  const quiet = or(ne(and(imm, i32(8)), i32(0)), fastInexact(b, false));
  const modeKnown = or(eqz(viaMxcsr), fastInexact(b, true));
  const numbers = xs.map((x) => on(f, 'eq', x, x)).reduce((p, q) => v('and', p, q));
  const noNan = scalar ? lane0Of(f, numbers) : allLanes(f, numbers);
  slowlyUnless(b, and(and(noDaz(b), quiet), and(modeKnown, noNan)), () => {
    for (const [i, x] of xs.entries()) b.set(results[i], b.call(`sse_round_${f.shape}`, x, imm, i32(scalar ? 1 : 0)));
  });
  return results;
}

const round =
  (f: Format): Semantics =>
  (b) =>
    writeAll(b, rounded(b, f, readHalves(b, 1), b.immediate(2), false));
const roundScalar =
  (f: Format): Semantics =>
  (b) => {
    const rest = b.let(b.readVector(source(b)));
    const [r] = rounded(b, f, [b.let(b.readVector(source(b) + 1))], b.immediate(source(b) + 2), true);
    b.writeVector(0, mergeLane0(f, r, rest));
  };

// ---- approximations: 1/x and 1/sqrt(x), here correctly rounded, which is within the 1.5 * 2^-12 that the SDM allows ----

/** RCPPS and RSQRTPS raise nothing: denormals count as zero, results up to the smallest normal are zero, NaNs become quiet. */
const approximate =
  (name: 'rcp' | 'rsqrt') =>
  (x: Expr): Expr => {
    const sign = lanes(4, 0x80000000);
    const signOf = (e: Expr) => v('and', e, sign);
    const magnitude = (e: Expr) => op('f32x4.abs', e);
    const flushed = v('bitselect', signOf(x), x, op('f32x4.lt', magnitude(x), single.smallest));
    const root = name === 'rcp' ? flushed : op('f32x4.sqrt', flushed);
    const quotient = op('f32x4.div', single.one, root);
    const tiny = op('f32x4.le', magnitude(quotient), single.smallest);
    const result = v('bitselect', signOf(quotient), quotient, tiny);
    const nan = v('bitselect', v('or', x, single.quietBit), lanes(4, 0xffc00000), op('f32x4.ne', x, x));
    return v('bitselect', nan, result, op('f32x4.ne', quotient, quotient));
  };

const approximation =
  (name: 'rcp' | 'rsqrt') =>
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    if (!scalar) return writeHalves(b, (half) => approximate(name)(b.let(b.readVector(1, half))));
    const rest = b.let(b.readVector(source(b)));
    b.writeVector(0, mergeLane0(f, approximate(name)(b.let(b.readVector(source(b) + 1))), rest));
  };

export const floatMoreLibrary: readonly LibraryFunction[] = [roundFunction(single), roundFunction(double)];

export const floatMoreRows: readonly Row[] = [
  ...floats('AND', '54', () => binary(wasm('v128.and')), ['PS', 'PD']),
  ...floats('ANDN', '55', () => binary((x, y) => v('andnot', y, x)), ['PS', 'PD']),
  ...floats('OR', '56', () => binary(wasm('v128.or')), ['PS', 'PD']),
  ...floats('XOR', '57', () => binary(wasm('v128.xor')), ['PS', 'PD']),
  ...floats('RSQRT', '52', approximation('rsqrt'), ['PS', 'SS'], 'one'),
  ...floats('RCP', '53', approximation('rcp'), ['PS', 'SS'], 'one'),
  ...sumRows('HADD', '7C', 'add', true),
  ...sumRows('HSUB', '7D', 'sub', true),
  ...sumRows('ADDSUB', 'D0', 'addsub', false),
  ...both('DPPS', '66.0F3A 40', 'Vps,Hps,Wps,Ibu', dotProduct(single), { cpuid: 'sse4_1', vex: 'avx' }),
  ...both('DPPD', '66.0F3A 41', 'Vdq,Hdq,Wdq,Ibu', dotProduct(double), { cpuid: 'sse4_1', vex: '128' }),
  ...both('ROUNDPS', '66.0F3A 08', 'Vps,Wps,Ibu', round(single), { cpuid: 'sse4_1', vex: 'avx' }),
  ...both('ROUNDPD', '66.0F3A 09', 'Vpd,Wpd,Ibu', round(double), { cpuid: 'sse4_1', vex: 'avx' }),
  ...both('ROUNDSS', '66.0F3A 0A', 'Vss,Hss,Wss,Ibu', roundScalar(single), { cpuid: 'sse4_1', vex: 'scalar' }),
  ...both('ROUNDSD', '66.0F3A 0B', 'Vsd,Hsd,Wsd,Ibu', roundScalar(double), { cpuid: 'sse4_1', vex: 'scalar' }),
];
