/** Bit manipulation and friends: BMI1, BMI2, ADX, LZCNT, POPCNT, MOVBE, CRC32 (SDM vol. 2). */
import {
  add,
  and,
  clz,
  constLike,
  ctz,
  type Expr,
  eqz,
  geU,
  type IntSize,
  i32,
  i64,
  type LibraryFunction,
  lane,
  ltU,
  mul,
  ne,
  op,
  or,
  popcnt,
  rotr,
  select,
  shl,
  shrS,
  shrU,
  shuffle,
  sub,
  toI32,
  toI64,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { flag, gpr, vector } from '../state.ts';
import { mulHighU } from './arithmetic.ts';
import { type Feature, type Row, type RowOptions, row } from './row.ts';

const size = (b: X86Builder, i: number): IntSize => b.width(i) as IntSize;
const bitsOf = (b: X86Builder, i: number): number => b.width(i) * 8;
const minusOne = (e: Expr): Expr => sub(e, constLike(e, 1));
const invert = (e: Expr): Expr => xor(e, constLike(e, -1));
const isZero = (e: Expr): Expr => eqz(e);
/** An i32 or i64 count for a shift of `like`. */
const count = (like: Expr, n: Expr): Expr => (like.type === 'i64' ? toI64(n) : n);

/** ZF and SF (and PF) from the result, CF given (i32 0 or 1), OF and AF clear. */
const setCarry = (b: X86Builder, result: Expr, carry: Expr): void => b.setFlags('result', size(b, 0), result, carry);

// ---- BMI1 and BMI2 ----

const andNot: Semantics = (b) => {
  const result = b.let(and(invert(b.read(1)), b.read(2)));
  b.write(0, result);
  b.setFlags('logic', size(b, 0), result, constLike(result, 0));
};

/** BLSR, BLSMSK, BLSI: `combine` of the source; CF tells whether the source was (`whenZero`) or was not zero. */
const lowestSet =
  (combine: (x: Expr) => Expr, whenZero: boolean): Semantics =>
  (b) => {
    const x = b.let(b.read(1));
    const result = b.let(combine(x));
    b.write(0, result);
    setCarry(b, result, whenZero ? isZero(x) : ne(x, constLike(x, 0)));
  };

/** The low `n` bits (i32, at most the width) of x. */
const lowBits = (x: Expr, n: Expr, bits: number): Expr =>
  select(geU(n, i32(bits)), x, and(x, minusOne(shl(constLike(x, 1), count(x, n)))));

const extractField: Semantics = (b) => {
  const bits = bitsOf(b, 0);
  const x = b.let(b.read(1));
  const control = b.let(toI32(b.read(2)));
  const start = b.let(and(control, i32(0xff)));
  const length = b.let(and(shrU(control, i32(8)), i32(0xff)));
  const shifted = b.let(select(geU(start, i32(bits)), constLike(x, 0), shrU(x, count(x, start))));
  const result = b.let(lowBits(shifted, length, bits));
  b.write(0, result);
  setCarry(b, result, i32(0));
};

const zeroHigh: Semantics = (b) => {
  const bits = bitsOf(b, 0);
  const x = b.let(b.read(1));
  const n = b.let(and(toI32(b.read(2)), i32(0xff)));
  const result = b.let(lowBits(x, n, bits));
  b.write(0, result);
  setCarry(b, result, geU(n, i32(bits)));
};

/** SARX, SHLX, SHRX: the operator masks the count itself. */
const shiftBy =
  (shift: (x: Expr, n: Expr) => Expr): Semantics =>
  (b) => {
    const x = b.read(1);
    b.write(0, shift(x, b.read(2)));
  };

const rotateBy: Semantics = (b) => {
  const x = b.read(1);
  b.write(0, rotr(x, count(x, and(b.immediate(2), i32(bitsOf(b, 0) - 1)))));
};

/** MULX: the low half is written first, so that the high half wins when both go to one register. */
const multiplyUnflagged: Semantics = (b) => {
  const y = b.let(b.read(2));
  const x = y.type === 'i64' ? b.get(gpr[2]) : toI32(b.get(gpr[2]));
  if (y.type === 'i64') {
    const high = b.let(mulHighU(b, x, y));
    b.write(1, b.let(mul(x, y)));
    b.write(0, high);
    return;
  }
  const product = b.let(mul(toI64(x), toI64(y)));
  b.write(1, toI32(product));
  b.write(0, toI32(shrU(product, i64(32))));
};

const scatter =
  (name: 'bmi_pdep' | 'bmi_pext'): Semantics =>
  (b) => {
    const x = b.read(1);
    const result = b.call(name, toI64(x), toI64(b.read(2)));
    b.write(0, x.type === 'i64' ? result : toI32(result));
  };

/** `bmi_pdep` (source, mask): the source's low bits at the places of the mask's; `bmi_pext` the other way round. */
const scatterFunction = (name: 'bmi_pdep' | 'bmi_pext'): LibraryFunction => ({
  name,
  params: ['i64', 'i64'],
  result: 'i64',
  body(b, source, mask) {
    const out = b.variable(i64(0));
    const compact = b.variable(i64(1)); // the bit of the packed side
    b.if(ne(mask, i64(0)), () =>
      b.loop((again) => {
        const place = b.let(and(mask, sub(i64(0), mask)));
        const [from, to] = name === 'bmi_pdep' ? [compact, place] : [place, compact];
        b.if(ne(and(source, from), i64(0)), () => b.set(out, or(out, to)));
        b.set(compact, shl(compact, i64(1)));
        b.set(mask, and(mask, minusOne(mask)));
        b.if(ne(mask, i64(0)), again);
      }),
    );
    return out;
  },
});

// ---- counts ----

const trailingZeros: Semantics = (b) => {
  const x = b.let(b.read(1));
  const result = b.let(ctz(b.width(0) === 2 ? or(x, i32(0x10000)) : x));
  b.write(0, result);
  setCarry(b, result, isZero(x));
};
const leadingZeros: Semantics = (b) => {
  const x = b.let(b.read(1));
  const result = b.let(b.width(0) === 2 ? sub(clz(x), i32(16)) : clz(x));
  b.write(0, result);
  setCarry(b, result, isZero(x));
};
const population: Semantics = (b) => {
  const x = b.let(b.read(1));
  b.write(0, popcnt(x));
  b.putFlags(select(isZero(x), i32(flag.ZF), i32(0)));
};

// ---- ADX ----

/** ADCX and ADOX: add with carry in one flag, which alone changes. */
const addWithFlag =
  (bit: number): Semantics =>
  (b) => {
    const y = b.let(b.read(1));
    const x = b.let(b.read(0));
    const flags = b.let(b.getFlags());
    const carry = b.let(and(shrU(flags, i32(Math.log2(bit))), i32(1)));
    const partial = b.let(add(x, y));
    const sum = b.let(add(partial, count(partial, carry)));
    b.write(0, sum);
    const out = or(ltU(partial, x), ltU(sum, partial));
    b.putFlags(or(and(flags, i32(~bit)), shl(out, i32(Math.log2(bit)))));
  };

// ---- MOVBE ----

/** The low `width` bytes of an integer in the other order. */
function reversed(e: Expr, width: IntSize): Expr {
  const v = op(e.type === 'i64' ? 'i64x2.splat' : 'i32x4.splat', e);
  const turned = shuffle(
    v,
    v,
    Array.from({ length: 16 }, (_, i) => (i < width ? width - 1 - i : i)),
  );
  return lane(
    width === 8 ? 'i64x2.extract_lane' : width === 4 ? 'i32x4.extract_lane' : 'i16x8.extract_lane_u',
    0,
    turned,
  );
}
/** F2 selects CRC32; F3 (or F2 without SSE4.2) is undefined. */
const moveReversed: Semantics = (b) => {
  if (b.rep) b.raise(vector.UD);
  b.write(0, reversed(b.read(1), size(b, 0)));
};

// ---- CRC32 ----

/** `crc32c` (crc, data, bytes): CRC-32C (reflected polynomial 82F63B78) of the low bytes of `data`. */
const crcFunction: LibraryFunction = {
  name: 'crc32c',
  params: ['i32', 'i64', 'i32'],
  result: 'i32',
  body(b, crc, data, bytes) {
    // The register and the data that is still to come share one i64: a shift moves the next data bit in.
    const register = b.variable(xor(toI64(crc), data));
    b.loop((again) => {
      for (let i = 0; i < 8; i++) {
        const low = sub(i64(0), and(register, i64(1)));
        b.set(register, xor(shrU(register, i64(1)), and(low, i64(0x82f63b78n))));
      }
      b.set(bytes, sub(bytes, i32(1)));
      b.if(bytes, again);
    });
    return toI32(register);
  },
};
const crc: Semantics = (b) => {
  const data = toI64(b.read(1));
  const result = b.call('crc32c', toI32(b.read(0)), data, i32(b.width(1)));
  b.write(0, b.width(0) === 8 ? toI64(result) : result);
};

// ---- rows ----

const vex = (
  mnemonic: string,
  code: string,
  operands: string,
  semantics: Semantics,
  cpuid: Feature,
  undefinedFlags = 0,
): Row => row(mnemonic, `VEX.L0.${code}`, operands, semantics, { cpuid, protectedOnly: true, undefinedFlags });
const { AF, PF, SF, OF } = flag;
const counts = (cpuid: Feature): RowOptions => ({ cpuid, undefinedFlags: AF | PF | SF | OF });

export const bmiLibrary: readonly LibraryFunction[] = [
  scatterFunction('bmi_pdep'),
  scatterFunction('bmi_pext'),
  crcFunction,
];

export const bmiRows: readonly Row[] = [
  vex('ANDN', 'NP.0F38 F2', 'Gy,By,Ey', andNot, 'bmi1', AF | PF),
  vex(
    'BLSR',
    'NP.0F38 F3 /1',
    'By,Ey',
    lowestSet((x) => and(minusOne(x), x), true),
    'bmi1',
    AF | PF,
  ),
  vex(
    'BLSMSK',
    'NP.0F38 F3 /2',
    'By,Ey',
    lowestSet((x) => xor(minusOne(x), x), true),
    'bmi1',
    AF | PF,
  ),
  vex(
    'BLSI',
    'NP.0F38 F3 /3',
    'By,Ey',
    lowestSet((x) => and(sub(constLike(x, 0), x), x), false),
    'bmi1',
    AF | PF,
  ),
  vex('BEXTR', 'NP.0F38 F7', 'Gy,Ey,By', extractField, 'bmi1', AF | PF | SF),
  vex('BZHI', 'NP.0F38 F5', 'Gy,Ey,By', zeroHigh, 'bmi2', AF | PF),
  vex('MULX', 'F2.0F38 F6', 'Gy,By,Ey', multiplyUnflagged, 'bmi2'),
  vex('PDEP', 'F2.0F38 F5', 'Gy,By,Ey', scatter('bmi_pdep'), 'bmi2'),
  vex('PEXT', 'F3.0F38 F5', 'Gy,By,Ey', scatter('bmi_pext'), 'bmi2'),
  vex('RORX', 'F2.0F3A F0', 'Gy,Ey,Ibu', rotateBy, 'bmi2'),
  vex('SARX', 'F3.0F38 F7', 'Gy,Ey,By', shiftBy(shrS), 'bmi2'),
  vex('SHLX', '66.0F38 F7', 'Gy,Ey,By', shiftBy(shl), 'bmi2'),
  vex('SHRX', 'F2.0F38 F7', 'Gy,Ey,By', shiftBy(shrU), 'bmi2'),
  row('TZCNT', 'F3 0F BC', 'Gv,Ev', trailingZeros, counts('bmi1')),
  row('LZCNT', 'F3 0F BD', 'Gv,Ev', leadingZeros, counts('lzcnt')),
  row('POPCNT', 'F3 0F B8', 'Gv,Ev', population, { cpuid: 'popcnt' }),
  row('ADCX', '66 0F 38 F6', 'Gy,Ey', addWithFlag(flag.CF), { cpuid: 'adx' }),
  row('ADOX', 'F3 0F 38 F6', 'Gy,Ey', addWithFlag(flag.OF), { cpuid: 'adx' }),
  row('MOVBE', '0F 38 F0', 'Gv,Mv', moveReversed, { cpuid: 'movbe', by: ['rep'] }),
  row('MOVBE', '0F 38 F1', 'Mv,Gv', moveReversed, { cpuid: 'movbe', by: ['rep'] }),
  row('CRC32', 'F2 0F 38 F0', 'Gy,Eb', crc, { cpuid: 'sse4_2' }),
  row('CRC32', 'F2 0F 38 F1', 'Gy,Ev', crc, { cpuid: 'sse4_2' }),
];
