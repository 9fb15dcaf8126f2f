/** Conversions between integers and floats of both formats (SSE, SSE2, MMX, AVX), and MXCSR's load and store. */
import { and, type Expr, i32, type LibraryFunction, lane, op, or } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { cr4, mxcsr, vector } from '../state.ts';
import {
  abs,
  bitsOf,
  double,
  type Format,
  fastInexact,
  fastRounding,
  laneOf,
  mxcsrReserved,
  readHalves,
  single,
  slowlyUnless,
  v,
  withLane,
  writeAll,
} from './fp.ts';
import { oddLanes } from './fp-compare.ts';
import { type Row, row } from './row.ts';
import { avx, both, enterMmx, lanes, low64, lowLane, pick, readMmx, source, unary, writeMmx, zero128 } from './vec.ts';

/** Lanes 0 and 1 of four. */
const lowLanes = lanes(8, -1, 0);
const lowOnly = (x: Expr): Expr => v('and', x, lowLanes);
const joinLow = (low: Expr, high: Expr): Expr => pick(8, low, high, 0, 2);

// ---- slow functions: lane by lane in soft-float ----

type Lane = 'f32' | 'f64' | 'i32';
const laneInfo = {
  f32: { shape: 'i32x4', count: 4 },
  i32: { shape: 'i32x4', count: 4 },
  f64: { shape: 'i64x2', count: 2 },
} as const;

/**
 * `sse_<from>_to_<to>` (v, control): the lanes of v that both formats have, converted from the low ones up, the rest
 * zero. `control` is MXCSR, with RC changed where the instruction truncates.
 */
const laneConversion = (from: Lane, to: Lane): LibraryFunction => ({
  name: `sse_${from}_to_${to}`,
  params: ['v128', 'i32'],
  result: 'v128',
  body(b, x, control) {
    const out = b.variable(zero128);
    for (let i = 0; i < Math.min(laneInfo[from].count, laneInfo[to].count); i++) {
      const value = lane(`${laneInfo[from].shape}.extract_lane`, i, x);
      b.set(out, lane(`${laneInfo[to].shape}.replace_lane`, i, out, b.call(`${from}_to_${to}`, value, control)));
    }
    return out;
  },
});

export const convertLibrary: readonly LibraryFunction[] = [
  laneConversion('f32', 'i32'),
  laneConversion('f64', 'i32'),
  laneConversion('i32', 'f32'),
  laneConversion('f32', 'f64'),
  laneConversion('f64', 'f32'),
];

/** `value` unless `fast` (i32) is false: then what `slow` gives, exceptions included. */
function unless(b: X86Builder, fast: Expr, values: readonly Expr[], slow: (i: number) => Expr): Expr[] {
  const out = values.map((e) => b.variable(e));
  slowlyUnless(b, fast, () => {
    for (const [i, e] of out.entries()) b.set(e, slow(i));
  });
  return out;
}

const truncate = i32(0x6000);
const controlFor = (b: X86Builder, truncating: boolean): Expr =>
  truncating ? or(b.get(mxcsr), truncate) : b.get(mxcsr);
const everyLane = (masks: readonly Expr[], f: Format): Expr =>
  op(
    'i32.eq',
    op(
      `${f.ints}.bitmask`,
      masks.reduce((p, q) => v('and', p, q)),
    ),
    i32((1 << f.count) - 1),
  );

// ---- packed floats to 32-bit integers ----

/** Each vector of floats as integers, in the low lanes. Fast: every lane in range, rounding to nearest or truncating, PE set. */
function toIntegers(b: X86Builder, f: Format, xs: readonly Expr[], truncating: boolean): Expr[] {
  const limit = f.size === 4 ? lanes(4, 0x4f000000) : lanes(8, 0x41dfffffffc00000n); // 2^31; 2^31 - 1
  const inRange = xs.map((x) => op(`${f.shape}.lt`, abs(f, x), limit));
  const convert = (x: Expr) => {
    const whole = truncating ? x : op(`${f.shape}.nearest`, x);
    return f.size === 4 ? op('i32x4.trunc_sat_f32x4_s', whole) : op('i32x4.trunc_sat_f64x2_s_zero', whole);
  };
  const control = controlFor(b, truncating);
  return unless(b, and(fastInexact(b, !truncating), everyLane(inRange, f)), xs.map(convert), (i) =>
    b.call(`sse_${f.float}_to_i32`, xs[i], control),
  );
}

const psToDq =
  (truncating: boolean): Semantics =>
  (b) =>
    writeAll(b, toIntegers(b, single, readHalves(b, 1), truncating));
/** CVT(T)PD2DQ: the results of both halves side by side in the low half. */
const pdToDq =
  (truncating: boolean): Semantics =>
  (b) =>
    narrowed(b, toIntegers(b, double, readHalves(b, 1), truncating));
function narrowed(b: X86Builder, halves: readonly Expr[]): void {
  b.writeVector(0, halves.length === 2 ? b.let(joinLow(halves[0], halves[1])) : halves[0]);
}

// ---- 32-bit integers to packed floats ----

function toSingles(b: X86Builder, xs: readonly Expr[]): Expr[] {
  const control = b.get(mxcsr);
  return unless(
    b,
    fastInexact(b, true),
    xs.map((x) => op('f32x4.convert_i32x4_s', x)),
    (i) => b.call('sse_i32_to_f32', xs[i], control),
  );
}
const toDoubles = (x: Expr): Expr => op('f64x2.convert_low_i32x4_s', x);
const upper = (x: Expr): Expr => pick(8, x, x, 1, 1);

/** Low half of a source widened into as many halves as the destination has. */
const widened =
  (widen: (b: X86Builder, parts: readonly Expr[]) => Expr[]): Semantics =>
  (b) => {
    const x = b.let(b.readVector(1));
    writeAll(b, widen(b, b.vl === 32 ? [x, b.let(upper(x))] : [x]));
  };

// ---- between the float formats ----

/** The two low singles of each vector as doubles. Fast: no NaN and no denormal among them. */
function promote(b: X86Builder, xs: readonly Expr[]): Expr[] {
  const odd = xs.map((x) => lowOnly(oddLanes(b, single, x))).reduce((p, q) => v('or', p, q));
  const control = b.get(mxcsr);
  return unless(
    b,
    op('i32.eqz', op('v128.any_true', odd)),
    xs.map((x) => op('f64x2.promote_low_f32x4', x)),
    (i) => b.call('sse_f32_to_f64', xs[i], control),
  );
}

/** Doubles as singles in the low lanes. Fast: the result is above the smallest normal single and finite. */
function demote(b: X86Builder, xs: readonly Expr[]): Expr[] {
  const good = xs.map((x) =>
    v('and', op('f64x2.gt', abs(double, x), smallestSingle), op('f64x2.lt', abs(double, x), largestSingle)),
  );
  const control = b.get(mxcsr);
  const fast = and(fastRounding(control), everyLane(good, double));
  return unless(
    b,
    fast,
    xs.map((x) => op('f32x4.demote_f64x2_zero', x)),
    (i) => b.call('sse_f64_to_f32', xs[i], control),
  );
}
/** Doubles with magnitudes between these are normal singles when rounded. */
const smallestSingle = lanes(8, 0x3810000000000000n);
const largestSingle = lanes(8, 0x47efffffe0000000n);

const scalarDemote: Semantics = (b) => {
  const y = b.let(b.readVector(source(b) + 1));
  const [r] = demote(b, [b.let(pick(8, y, y, 0, 0))]);
  b.writeVector(0, withLane(single, b.readVector(source(b)), bitsOf(single, r)));
};
const scalarPromote: Semantics = (b) => {
  const y = b.let(b.readVector(source(b) + 1));
  const [r] = promote(b, [b.let(pick(4, y, y, 0, 0, 0, 0))]);
  b.writeVector(0, withLane(double, b.readVector(source(b)), bitsOf(double, r)));
};

// ---- general registers ----

/** CVT(T)SS2SI, CVT(T)SD2SI. Fast: in range, and exact or PE set with the mode that the instruction rounds in. */
const toGeneral =
  (f: Format, truncating: boolean): Semantics =>
  (b) => {
    const wide = b.width(0) === 8;
    const target = wide ? 'i64' : 'i32';
    const x = b.let(b.readVector(1));
    const value = b.let(laneOf(f, x));
    const result = b.let(op(`${target}.trunc_sat_${f.float}_s`, truncating ? value : op(`${f.float}.nearest`, value)));
    // A 32-bit result may still round up to the limit; what is below 2^31 - 1 in magnitude may not.
    const limit = f.constant(wide ? 2 ** 63 : f.size === 4 ? 2 ** 31 : 2 ** 31 - 1);
    const inRange = op(`${f.float}.lt`, op(`${f.float}.abs`, value), limit);
    const exact = op(`${f.float}.eq`, op(`${f.float}.convert_${target}_s`, result), value);
    const control = controlFor(b, truncating);
    const [r] = unless(b, and(inRange, or(exact, fastInexact(b, !truncating))), [result], () =>
      b.call(`${f.float}_to_${target}`, bitsOf(f, x), control),
    );
    b.write(0, r);
  };

/** CVTSI2SS, CVTSI2SD: from 32 bits to double always exact, else fast when rounding to nearest with PE set. */
const fromGeneral =
  (f: Format): Semantics =>
  (b) => {
    const n = source(b) + 1;
    const value = b.read(n);
    const rest = b.let(b.readVector(source(b)));
    const wide = b.width(n) === 8;
    const converted = op(`${f.float}.convert_${wide ? 'i64' : 'i32'}_s`, value);
    if (!wide && f.size === 8) {
      b.writeVector(0, withLane(f, rest, converted));
      return;
    }
    const control = b.get(mxcsr);
    const results = unless(b, fastInexact(b, true), [withLane(f, rest, converted)], () =>
      withLane(f, rest, b.call(`${wide ? 'i64' : 'i32'}_to_${f.float}`, value, control)),
    );
    b.writeVector(0, results[0]);
  };

function generalRows(suffix: 'SS' | 'SD', prefix: string, f: Format): Row[] {
  const size = suffix.toLowerCase();
  const form = { cpuid: f.size === 4 ? 'sse' : 'sse2', vex: 'scalar' } as const;
  return [
    ...both(`CVTSI2${suffix}`, `${prefix}.0F 2A`, `V${size},H${size},Ey`, fromGeneral(f), form),
    ...both(`CVTT${suffix}2SI`, `${prefix}.0F 2C`, `Gy,W${size}`, toGeneral(f, true), form),
    ...both(`CVT${suffix}2SI`, `${prefix}.0F 2D`, `Gy,W${size}`, toGeneral(f, false), form),
  ];
}

// ---- MMX ----

/** Instructions on MMX and XMM registers at once also want CR4.OSFXSR. */
function checkOsfxsr(b: X86Builder): void {
  b.if(op('i32.eqz', and(b.get(cr4), i32(1 << 9))), () => b.raise(vector.UD));
}

/** CVT(T)PS2PI and CVT(T)PD2PI: two integers into an MMX register. */
const toMmx =
  (f: Format, truncating: boolean): Semantics =>
  (b) => {
    checkOsfxsr(b);
    const x = b.let(f.size === 4 ? lowOnly(b.readVector(1)) : b.readVector(1));
    writeMmx(b, 0, low64(toIntegers(b, f, [x], truncating)[0]));
  };
/** CVTPI2PS, CVTPI2PD: with the source in memory they are plain SSE instructions. */
const integerPair = (b: X86Builder): Expr => {
  if (b.inMemory(1)) return b.let(b.readVector(1));
  checkOsfxsr(b);
  return b.let(lowLane(readMmx(b, 1)));
};
const pairToSingles: Semantics = (b) => {
  const [r] = toSingles(b, [integerPair(b)]);
  if (!b.inMemory(1)) enterMmx(b);
  b.writeVector(0, pick(8, r, b.readVector(0), 0, 3));
};
const pairToDoubles: Semantics = (b) => {
  const y = integerPair(b);
  if (!b.inMemory(1)) enterMmx(b);
  b.writeVector(0, toDoubles(y));
};

const mmxRows: Row[] = [
  row('CVTPI2PS', 'NP 0F 2A', 'Vps,Nq', pairToSingles, { cpuid: 'sse', unit: 'mmx' }),
  row('CVTPI2PS', 'NP 0F 2A', 'Vps,Mq', pairToSingles, { cpuid: 'sse', unit: 'sse' }),
  row('CVTTPS2PI', 'NP 0F 2C', 'Pq,Wq', toMmx(single, true), { cpuid: 'sse', unit: 'mmx' }),
  row('CVTPS2PI', 'NP 0F 2D', 'Pq,Wq', toMmx(single, false), { cpuid: 'sse', unit: 'mmx' }),
  row('CVTPI2PD', '66 0F 2A', 'Vpd,Nq', pairToDoubles, { cpuid: 'sse2', unit: 'mmx' }),
  row('CVTPI2PD', '66 0F 2A', 'Vpd,Mq', pairToDoubles, { cpuid: 'sse2', unit: 'sse' }),
  row('CVTTPD2PI', '66 0F 2C', 'Pq,Wpd', toMmx(double, true), { cpuid: 'sse2', unit: 'mmx', aligned: true }),
  row('CVTPD2PI', '66 0F 2D', 'Pq,Wpd', toMmx(double, false), { cpuid: 'sse2', unit: 'mmx', aligned: true }),
];

// ---- MXCSR ----

const loadMxcsr: Semantics = (b) => {
  const value = b.let(b.read(0));
  b.if(and(value, i32(mxcsrReserved)), () => b.raise(vector.GP));
  b.put(mxcsr, value);
};
const storeMxcsr: Semantics = (b) => b.write(0, b.get(mxcsr));

export const convertRows: readonly Row[] = [
  ...both('CVTDQ2PS', 'NP.0F 5B', 'Vps,Wps', (b) => writeAll(b, toSingles(b, readHalves(b, 1))), {
    cpuid: 'sse2',
    vex: 'avx',
  }),
  ...both('CVTPS2DQ', '66.0F 5B', 'Vps,Wps', psToDq(false), { cpuid: 'sse2', vex: 'avx' }),
  ...both('CVTTPS2DQ', 'F3.0F 5B', 'Vps,Wps', psToDq(true), { cpuid: 'sse2', vex: 'avx' }),
  ...both('CVTTPD2DQ', '66.0F E6', 'Vdq,Wpd', pdToDq(true), { cpuid: 'sse2', vex: 'avx' }),
  ...both('CVTPD2DQ', 'F2.0F E6', 'Vdq,Wpd', pdToDq(false), { cpuid: 'sse2', vex: 'avx' }),
  ...both('CVTDQ2PD', 'F3.0F E6', 'Vpd,Wq', unary(toDoubles), { cpuid: 'sse2', vex: '128' }),
  avx(
    'VCVTDQ2PD',
    'L1.F3.0F E6',
    'Vpd,Wdq',
    widened((b, parts) => parts.map((p) => b.let(toDoubles(p)))),
  ),
  ...both('CVTPS2PD', 'NP.0F 5A', 'Vpd,Wq', widened(promote), { cpuid: 'sse2', vex: '128' }),
  avx('VCVTPS2PD', 'L1.NP.0F 5A', 'Vpd,Wdq', widened(promote)),
  ...both('CVTPD2PS', '66.0F 5A', 'Vdq,Wpd', (b) => narrowed(b, demote(b, readHalves(b, 1))), {
    cpuid: 'sse2',
    vex: 'avx',
  }),
  ...both('CVTSS2SD', 'F3.0F 5A', 'Vsd,Hsd,Wss', scalarPromote, { cpuid: 'sse2', vex: 'scalar' }),
  ...both('CVTSD2SS', 'F2.0F 5A', 'Vss,Hss,Wsd', scalarDemote, { cpuid: 'sse2', vex: 'scalar' }),
  ...generalRows('SS', 'F3', single),
  ...generalRows('SD', 'F2', double),
  ...mmxRows,
  ...both('LDMXCSR', 'NP.0F AE /2', 'Md', loadMxcsr, { cpuid: 'sse', vex: '128' }),
  ...both('STMXCSR', 'NP.0F AE /3', 'Md', storeMxcsr, { cpuid: 'sse', vex: '128' }),
];
