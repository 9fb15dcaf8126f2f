/**
 * 128-bit integer steps of floating-point arithmetic, emitted inline: add or
 * subtract with alignment, multiply, divide, square root. Inputs have bit 63
 * (127 of a pair) set unless they are zero; lost low bits are kept as a sticky
 * bit, so that rounding the result once is exact.
 */
import {
  add,
  and,
  type Builder,
  clz,
  type Expr,
  eq,
  eqz,
  f64,
  geU,
  gtS,
  gtU,
  i32,
  i64,
  leS,
  ltS,
  ltU,
  mul,
  ne,
  op,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
  type Variable,
} from '../ir/index.ts';
import { integerBit, sticky } from './format.ts';

/** Value (high · 2^64 + low) · 2^exponent, whatever the scale. */
export interface Wide {
  readonly sign: Expr;
  readonly exponent: Expr;
  readonly high: Expr;
  /** Absent: 0. */
  readonly low?: Expr;
}

export interface WideResult {
  readonly sign: Variable;
  readonly exponent: Variable;
  readonly high: Variable;
  readonly low: Variable;
}

const low32 = (e: Expr): Expr => and(e, i64(0xffffffffn));

/** The 128-bit product of two 64-bit numbers. */
export function multiplyWide(b: Builder, x: Expr, y: Expr): { high: Expr; low: Expr } {
  const x0 = b.let(low32(x));
  const x1 = b.let(shrU(x, i64(32)));
  const y0 = b.let(low32(y));
  const y1 = b.let(shrU(y, i64(32)));
  const p00 = b.let(mul(x0, y0));
  const middle = b.let(add(mul(x1, y0), shrU(p00, i64(32))));
  const middle2 = b.let(add(mul(x0, y1), low32(middle)));
  const high = b.let(add(mul(x1, y1), add(shrU(middle, i64(32)), shrU(middle2, i64(32)))));
  return { high, low: b.let(or(shl(middle2, i64(32)), low32(p00))) };
}

/** x + y, normalised; both zero or cancelled: high = low = 0 and `sign` is `zeroSign` unless the signs agree. */
export function addWide(b: Builder, x: Wide, y: Wide, zeroSign: Expr): WideResult {
  const [big, small] = ordered(b, x, y);
  const distance = b.let(sub(big.exponent, small.exponent));
  const { high: alignedHigh, low: alignedLow } = shiftRightWide(b, small, distance);
  const result: WideResult = {
    sign: b.variable(big.sign),
    exponent: b.variable(big.exponent),
    high: b.variable(big.high),
    low: b.variable(big.low ?? i64(0)),
  };
  b.if(
    eq(x.sign, y.sign),
    () => addMagnitude(b, result, alignedHigh, alignedLow),
    () => {
      const borrow = b.let(toI64(ltU(result.low, alignedLow)));
      b.set(result.low, sub(result.low, alignedLow));
      b.set(result.high, sub(sub(result.high, alignedHigh), borrow));
      b.if(
        eqz(or(result.high, result.low)),
        () => b.set(result.sign, zeroSign),
        () => normaliseWide(b, result),
      );
    },
  );
  return result;
}

/** The operand of larger magnitude first. */
function ordered(b: Builder, x: Wide, y: Wide): [Wide, Wide] {
  const lows =
    x.low && y.low ? or(ltU(x.high, y.high), and(eq(x.high, y.high), ltU(x.low, y.low))) : ltU(x.high, y.high);
  const swap = b.let(or(ltS(x.exponent, y.exponent), and(eq(x.exponent, y.exponent), lows)));
  const pick = (a: Wide, c: Wide): Wide => ({
    sign: b.let(select(swap, c.sign, a.sign)),
    exponent: b.let(select(swap, c.exponent, a.exponent)),
    high: b.let(select(swap, c.high, a.high)),
    low: a.low && c.low ? b.let(select(swap, c.low, a.low)) : undefined,
  });
  return [pick(x, y), pick(y, x)];
}

/** Shifts right by `distance` >= 0, lost bits ored into bit 0 of `low`. */
export function shiftRightWide(
  b: Builder,
  x: Pick<Wide, 'high' | 'low'>,
  distance: Expr,
): { high: Variable; low: Variable } {
  const high = b.variable(x.high);
  const low = b.variable(x.low ?? i64(0));
  b.if(distance, () => {
    b.if(
      leS(distance, i32(63)),
      () => {
        const n = b.let(toI64(distance));
        const back = b.let(sub(i64(64), n));
        const lost = x.low ? sticky(shl(x.low, back)) : i64(0);
        b.set(low, or(or(x.low ? shrU(x.low, n) : i64(0), shl(x.high, back)), lost));
        b.set(high, shrU(x.high, n));
      },
      () => {
        const n = b.let(toI64(sub(select(leS(distance, i32(127)), distance, i32(127)), i32(64))));
        const shifted = b.let(shrU(x.high, n));
        const lost = sub(shl(shifted, n), x.high);
        b.set(low, or(shifted, sticky(x.low ? or(lost, x.low) : lost)));
        b.set(high, i64(0));
      },
    );
  });
  return { high, low };
}

function addMagnitude(b: Builder, result: WideResult, high: Expr, low: Expr): void {
  b.set(result.low, add(result.low, low));
  const carryLow = b.let(toI64(ltU(result.low, low)));
  const before = b.let(result.high);
  b.set(result.high, add(add(before, high), carryLow));
  const carry = or(ltU(result.high, before), and(eq(result.high, before), ne(high, i64(0))));
  b.if(carry, () => {
    b.set(result.low, or(or(shl(result.high, i64(63)), shrU(result.low, i64(1))), and(result.low, i64(1))));
    b.set(result.high, or(shrU(result.high, i64(1)), integerBit));
    b.set(result.exponent, add(result.exponent, i32(1)));
  });
}

/** Shifts a pair that is not zero left until its top bit is set. */
export function normaliseWide(b: Builder, x: Pick<WideResult, 'high' | 'low' | 'exponent'>): void {
  b.if(eqz(x.high), () => {
    b.set(x.high, x.low);
    b.set(x.low, i64(0));
    b.set(x.exponent, sub(x.exponent, i32(64)));
  });
  const shift = b.let(clz(x.high));
  b.if(ne(shift, i64(0)), () => {
    b.set(x.high, or(shl(x.high, shift), shrU(x.low, sub(i64(64), shift))));
    b.set(x.low, shl(x.low, shift));
    b.set(x.exponent, sub(x.exponent, toI32(shift)));
  });
}

/** floor((high · 2^64 + low) / divisor) and the remainder; high < divisor, divisor's bit 63 set (Knuth, TAOCP 4.3.1 D). */
export function divideWide(b: Builder, high: Expr, low: Expr, divisor: Expr): { quotient: Expr; remainder: Expr } {
  const top = b.let(shrU(divisor, i64(32)));
  const bottom = b.let(low32(divisor));
  const digit = (u: Expr, next: Expr): { digit: Expr; rest: Expr } => {
    const q = b.variable(op('i64.div_u', u, top));
    const r = b.variable(sub(u, mul(q, top)));
    const correct = (then: () => void) => {
      const tooBig = or(geU(q, i64(1n << 32n)), gtU(mul(q, bottom), or(shl(r, i64(32)), next)));
      b.if(tooBig, () => {
        b.set(q, sub(q, i64(1)));
        b.set(r, add(r, top));
        then();
      });
    };
    correct(() => b.if(ltU(r, i64(1n << 32n)), () => correct(() => {})));
    return { digit: q, rest: b.let(sub(or(shl(u, i64(32)), next), mul(q, divisor))) };
  };
  const first = digit(high, b.let(shrU(low, i64(32))));
  const second = digit(first.rest, b.let(low32(low)));
  return { quotient: b.let(or(shl(first.digit, i64(32)), second.digit)), remainder: second.rest };
}

/** The 64 bits behind a quotient as far as rounding needs them: nothing, below, or above half of the last place (never just half). */
export function quotientRest(remainder: Expr, divisor: Expr): Expr {
  const complement = sub(divisor, remainder);
  return or(shl(toI64(gtU(remainder, complement)), i64(63)), sticky(remainder));
}

/**
 * floor(sqrt(radicand)) and the 64 bits behind it as far as rounding needs
 * them. The radicand is significand · 2^63, or · 2^64 when `odd` (0 or 1).
 * A binary64 estimate, one Newton step on the exact remainder, one correction.
 */
export function squareRoot(b: Builder, significand: Expr, odd: Expr): { root: Expr; rest: Expr } {
  const high = b.let(select(odd, significand, shrU(significand, i64(1))));
  const low = b.let(select(odd, i64(0), shl(significand, i64(63))));
  const scale = select(odd, f64(2 ** 32), f64(2 ** 31.5));
  const estimate = op('f64.mul', op('f64.sqrt', op('f64.convert_i64_u', significand)), scale);
  const root = b.variable(op('i64.trunc_sat_f64_u', estimate));

  let remainder = remainderOfSquare(b, high, low, root);
  const asDouble = op(
    'f64.add',
    op('f64.mul', op('f64.convert_i64_s', remainder.high), f64(2 ** 64)),
    op('f64.convert_i64_u', remainder.low),
  );
  const step = op('f64.div', asDouble, op('f64.mul', op('f64.convert_i64_u', root), f64(2)));
  b.set(root, add(root, op('i64.trunc_sat_f64_s', op('f64.floor', step))));

  remainder = remainderOfSquare(b, high, low, root);
  b.if(
    ltS(remainder.high, i64(0)),
    () => {
      b.set(root, sub(root, i64(1)));
      addDoubled(b, remainder, root, 1);
    },
    () => {
      // (root + 1)^2 fits when the remainder exceeds 2 · root.
      const excess = { high: b.variable(remainder.high), low: b.variable(remainder.low) };
      addDoubled(b, excess, root, -1);
      b.if(not0(excess), () => {
        b.set(root, add(root, i64(1)));
        b.set(remainder.high, excess.high);
        b.set(remainder.low, excess.low);
      });
    },
  );
  const above = or(ne(remainder.high, i64(0)), gtU(remainder.low, root));
  const rest = or(shl(toI64(above), i64(63)), sticky(or(remainder.high, remainder.low)));
  return { root, rest: b.let(rest) };
}

type Pair = { high: Variable; low: Variable };
/** A signed pair is at least 0. */
const not0 = (x: Pair): Expr => gtS(x.high, i64(-1));

/** high:low − root², signed. */
function remainderOfSquare(b: Builder, high: Expr, low: Expr, root: Expr): Pair {
  const square = multiplyWide(b, root, root);
  const borrow = toI64(ltU(low, square.low));
  return { high: b.variable(sub(sub(high, square.high), borrow)), low: b.variable(sub(low, square.low)) };
}

/** x += direction · (2 · root + 1). */
function addDoubled(b: Builder, x: Pair, root: Expr, direction: 1 | -1): void {
  const low = b.let(or(shl(root, i64(1)), i64(1)));
  const high = b.let(shrU(root, i64(63)));
  const before = b.let(x.low);
  b.set(x.low, op(direction > 0 ? 'i64.add' : 'i64.sub', before, low));
  const carry = toI64(direction > 0 ? ltU(x.low, low) : ltU(before, low));
  b.set(
    x.high,
    op(direction > 0 ? 'i64.add' : 'i64.sub', op(direction > 0 ? 'i64.add' : 'i64.sub', x.high, high), carry),
  );
}
