/**
 * The x87's transcendental functions with their special operands (SDM vol. 2,
 * F2XM1 to FYL2XP1); where the manual leaves a result undefined it is what CPUs
 * give. PE is raised for every result that is not special, exact or not.
 */
import { and, type Builder, type Expr, eq, eqz, geS, i32, i64, type LibraryFunction, or, xor } from '../ir/index.ts';
import { arctangent, logarithm, logarithmOfNext, piTimes, powerOfTwoLess1, sine, tangent } from './elementary.ts';
import { multiplyPrecise, type Precise, preciseOf, roundPrecise } from './fixed.ts';
import {
  exception,
  f80,
  integerBit,
  isInfinity,
  isNan,
  isZero,
  normalise,
  type Parts,
  pack,
  packInfinity,
  packInvalid,
  packZero,
  propagateNan,
  raiseFlags,
  unpack,
} from './format.ts';

/** Gives the function's result; the first one counts. */
type Settle = (cond: Expr, result: () => Expr) => void;

interface Context {
  readonly b: Builder;
  readonly control: Expr;
  /** DE's bit if an operand is denormal. */
  readonly denormal: Expr;
  readonly settle: Settle;
}

/** `f80_<name>` (as, ae[, bs, be], control): `body` settles what is special and returns the rest, which raises DE if due. */
function transcendental(
  name: string,
  count: 1 | 2,
  body: (c: Context, x: Parts, y: Parts) => () => Expr,
): LibraryFunction {
  return {
    name: `f80_${name}`,
    params: [...Array.from({ length: count }, () => ['i64', 'i32'] as const).flat(), 'i32'],
    result: 'i64',
    body(b, ...args) {
      const operands = Array.from({ length: count }, (_, i) => unpack(b, f80, args.slice(2 * i)));
      const control = args[2 * count];
      const out = b.variable(i64(0));
      const open = b.variable(i32(1));
      const settle: Settle = (cond, result) =>
        b.if(and(open, cond), () => {
          b.set(out, result());
          b.set(open, i32(0));
        });
      settle(operands.map((x) => isNan(f80, x)).reduce(or), () => propagateNan(b, f80, operands));
      b.if(open, () => {
        const denormal = b.let(operands.map((x) => normalise(b, f80, x, control)).reduce(or));
        const rest = body({ b, control, denormal, settle }, operands[0], operands[count - 1]);
        settle(i32(1), () => {
          raiseFlags(b, denormal);
          return rest();
        });
      });
      return out;
    },
  };
}

const infinite = (x: Parts): Expr => isInfinity(f80, x);
/** |x| >= 1. */
const reachesOne = (x: Parts): Expr => geS(x.exponent, i32(f80.bias));
const half = f80.bias - 1;

/** An operand as it is, inexact. */
const itself = ({ b, control }: Context, x: Parts): Expr => roundPrecise(b, preciseOf(x), control);

function trigonometric(
  name: string,
  f: (b: Builder, x: Precise) => Precise,
  ofZero: (b: Builder, x: Parts) => Expr,
): LibraryFunction {
  return transcendental(name, 1, ({ b, control, settle }, x) => {
    settle(infinite(x), () => packInvalid(b, f80));
    settle(isZero(x), () => ofZero(b, x));
    return () => roundPrecise(b, f(b, preciseOf(x)), control);
  });
}

const signedZero = (b: Builder, x: Parts): Expr => packZero(b, f80, x.sign);
const packOne = (b: Builder, sign: Expr, exponent: number): Expr => pack(b, f80, sign, i32(exponent), integerBit);

/** Exact, but CPUs say inexact. */
function inexactOne(b: Builder, sign: Expr, exponent: number): Expr {
  raiseFlags(b, i32(exception.precision));
  return packOne(b, sign, exponent);
}

/** F2XM1; an operand above 1 stays as it is. */
const power = transcendental('f2xm1', 1, (c, x) => {
  const { b, control, settle } = c;
  settle(isZero(x), () => signedZero(b, x));
  settle(and(infinite(x), x.sign), () => packOne(b, i32(1), f80.bias));
  settle(infinite(x), () => packInfinity(b, f80, i32(0)));
  const one = b.let(and(eq(x.exponent, i32(f80.bias)), eq(x.significand, integerBit)));
  settle(and(one, x.sign), () => inexactOne(b, i32(1), half));
  settle(one, () => inexactOne(b, i32(0), f80.bias));
  settle(reachesOne(x), () => itself(c, x));
  return () => roundPrecise(b, powerOfTwoLess1(b, preciseOf(x)), control);
});
/** y · log2 x or y · log2 (x + 1) for finite operands; the logarithm is zero for x = 1, and FYL2XP1's sign of it is x's. */
function timesLogarithm(c: Context, y: Parts, log: () => Precise): () => Expr {
  const { b, control, settle } = c;
  const value = log();
  const zeroLog = b.let(eqz(or(value.high, value.low)));
  const sign = b.let(xor(value.sign, y.sign));
  settle(and(infinite(y), zeroLog), () => packInvalid(b, f80));
  const withDenormal = (result: () => Expr) => () => {
    raiseFlags(b, c.denormal);
    return result();
  };
  settle(
    infinite(y),
    withDenormal(() => packInfinity(b, f80, sign)),
  );
  settle(
    or(zeroLog, isZero(y)),
    withDenormal(() => packZero(b, f80, sign)),
  );
  return () => roundPrecise(b, multiplyPrecise(b, value, preciseOf(y)), control);
}

const infinityTimes = ({ b, denormal, settle }: Context, x: Parts, y: Parts): void => {
  settle(and(infinite(x), isZero(y)), () => packInvalid(b, f80));
  settle(infinite(x), () => {
    raiseFlags(b, denormal);
    return packInfinity(b, f80, y.sign);
  });
};

const yTimesLog = transcendental('fyl2x', 2, (c, x, y) => {
  const { b, settle } = c;
  settle(and(isZero(x), isZero(y)), () => packInvalid(b, f80));
  settle(isZero(x), () => {
    b.if(eqz(infinite(y)), () => raiseFlags(b, i32(exception.zeroDivide)));
    return packInfinity(b, f80, xor(y.sign, i32(1)));
  });
  settle(x.sign, () => packInvalid(b, f80));
  infinityTimes(c, x, y);
  return timesLogarithm(c, y, () => logarithm(b, preciseOf(x)));
});

const yTimesLogOfNext = transcendental('fyl2xp1', 2, (c, x, y) => {
  const { b, settle } = c;
  settle(and(infinite(x), x.sign), () => packInvalid(b, f80));
  infinityTimes(c, x, y);
  // Below -1 there is no logarithm; CPUs give this.
  const outside = b.let(and(x.sign, reachesOne(x)));
  settle(and(outside, isZero(y)), () => packZero(b, f80, xor(y.sign, i32(1))));
  settle(and(outside, infinite(y)), () => packInfinity(b, f80, xor(y.sign, i32(1))));
  settle(outside, () => {
    raiseFlags(b, c.denormal);
    return itself(c, x);
  });
  settle(and(isZero(x), infinite(y)), () => packInvalid(b, f80));
  settle(isZero(x), () => {
    raiseFlags(b, c.denormal);
    return packZero(b, f80, xor(x.sign, y.sign));
  });
  return timesLogarithm(c, y, () => logarithmOfNext(b, preciseOf(x)));
});

/** FPATAN: the angle of the point (x, y). */
const angle = transcendental('fpatan', 2, (c, x, y) => {
  const { b, control, denormal, settle } = c;
  const settleAngle = (cond: Expr, numerator: bigint, shift: number) =>
    settle(cond, () => {
      raiseFlags(b, denormal);
      return roundPrecise(b, { ...piTimes(numerator, shift), sign: y.sign }, control);
    });
  const both = b.let(and(infinite(x), infinite(y)));
  settleAngle(and(both, x.sign), 3n, 2);
  settleAngle(both, 1n, 2);
  settleAngle(infinite(y), 1n, 1);
  const flat = b.let(or(isZero(y), infinite(x)));
  settleAngle(and(flat, x.sign), 1n, 0);
  settle(flat, () => {
    raiseFlags(b, denormal);
    return signedZero(b, y);
  });
  settleAngle(isZero(x), 1n, 1);
  return () => roundPrecise(b, arctangent(b, preciseOf(y), preciseOf(x)), control);
});

/** FSIN, FCOS, FPTAN (operands below 2^63: the caller has looked), F2XM1, FYL2X, FYL2XP1 and FPATAN; x is ST(0), y ST(1). */
export const transcendentalFunctions: readonly LibraryFunction[] = [
  trigonometric('fsin', (b, x) => sine(b, x, 0), signedZero),
  trigonometric(
    'fcos',
    (b, x) => sine(b, x, 1),
    (b) => packOne(b, i32(0), f80.bias),
  ),
  trigonometric('fptan', tangent, signedZero),
  power,
  yTimesLog,
  yTimesLogOfNext,
  angle,
];
