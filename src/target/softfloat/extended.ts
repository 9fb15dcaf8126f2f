/** Operations that only the x87 has: FPREM, FPREM1, FXTRACT and FSCALE (SDM vol. 2). */
import {
  add,
  and,
  type Builder,
  clz,
  convert,
  type Expr,
  eq,
  eqz,
  geS,
  geU,
  gtS,
  gtU,
  i32,
  i64,
  type LibraryFunction,
  leS,
  ltS,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
  type Variable,
  xor,
} from '../ir/index.ts';
import {
  exception,
  f80,
  isInfinity,
  isNan,
  isZero,
  normalise,
  type Parts,
  packInfinity,
  packInvalid,
  packZero,
  propagateNan,
  raiseFlags,
  unpack,
} from './format.ts';

/** Bits of `floatFlags` that the x87 gets as condition codes. */
const C1 = 1 << 9;
const C2 = 1 << 10;
/** Rounds to the full precision whatever the precision control says. */
const fullPrecision = (control: Expr): Expr => or(control, i32(0x300));

/** Packs a significand that may have leading zeros, or zero. */
function packUnnormalised(b: Builder, sign: Expr, exponent: Expr, significand: Expr, control: Expr): Expr {
  const out = b.variable(i64(0));
  b.if(
    eqz(significand),
    () => b.set(out, packZero(b, f80, sign)),
    () => {
      const shift = b.let(clz(significand));
      b.set(
        out,
        b.call('f80_pack', sign, sub(exponent, toI32(shift)), shl(significand, shift), i64(0), fullPrecision(control)),
      );
    },
  );
  return out;
}

/** Restoring division of x · 2^count by y: quotient (its low bits), remainder. */
function divideSteps(b: Builder, x: Expr, y: Expr, count: Expr): { quotient: Variable; remainder: Variable } {
  const left = b.variable(count);
  const quotient = b.variable(i32(0));
  const remainder = b.variable(x);
  const carry = b.variable(i32(0));
  b.loop((again) => {
    b.set(quotient, shl(quotient, i32(1)));
    b.if(or(carry, geU(remainder, y)), () => {
      b.set(remainder, sub(remainder, y));
      b.set(quotient, or(quotient, i32(1)));
    });
    b.if(left, () => {
      b.set(left, sub(left, i32(1)));
      b.set(carry, ltS(remainder, i64(0)));
      b.set(remainder, shl(remainder, i64(1)));
      again();
    });
  });
  return { quotient, remainder };
}

/** C0, C3, C1 ← bits 2, 1, 0 of the quotient. */
const quotientBits = (q: Expr): Expr =>
  or(shl(and(q, i32(1)), i32(9)), or(shl(and(q, i32(2)), i32(13)), shl(and(q, i32(4)), i32(6))));

function finiteRemainder(b: Builder, x: Parts, y: Parts, nearest: Expr, control: Expr): Expr {
  const distance = b.let(sub(x.exponent, y.exponent));
  const sign = b.variable(x.sign);
  const exponent = b.variable(x.exponent);
  const significand = b.variable(x.significand);
  const conditions = b.variable(i32(0));
  b.if(
    geS(distance, i32(64)),
    () => {
      // Partial: reduces the exponent by 32 to 63, so that the rest is a multiple of 32.
      const count = b.let(add(i32(32), and(distance, i32(31))));
      b.set(significand, divideSteps(b, x.significand, y.significand, count).remainder);
      b.set(exponent, sub(x.exponent, count));
      b.set(conditions, i32(C2));
    },
    () => {
      b.if(geS(distance, i32(0)), () => {
        const { quotient, remainder } = divideSteps(b, x.significand, y.significand, distance);
        const complement = b.let(sub(y.significand, remainder));
        const tieToOdd = and(eq(remainder, complement), quotient);
        const up = and(nearest, or(gtU(remainder, complement), tieToOdd));
        b.set(exponent, y.exponent);
        b.set(significand, remainder);
        b.if(up, () => {
          b.set(significand, complement);
          b.set(quotient, add(quotient, i32(1)));
          b.set(sign, xor(sign, i32(1)));
        });
        b.set(conditions, quotientBits(quotient));
      });
      // FPREM1 of a number between half of the divisor and the divisor.
      b.if(and(and(nearest, eq(distance, i32(-1))), gtU(x.significand, y.significand)), () => {
        b.set(significand, sub(shl(y.significand, i64(1)), x.significand));
        b.set(sign, xor(sign, i32(1)));
        b.set(conditions, i32(C1));
      });
    },
  );
  raiseFlags(b, conditions);
  return packUnnormalised(b, sign, exponent, significand, control);
}

const remainder: LibraryFunction = {
  name: 'f80_remainder',
  params: ['i64', 'i32', 'i64', 'i32', 'i32', 'i32'],
  result: 'i64',
  body(b, as, ae, bs, be, nearest, control) {
    const x = unpack(b, f80, [as, ae]);
    const y = unpack(b, f80, [bs, be]);
    const out = b.variable(i64(0));
    b.if(
      or(isNan(f80, x), isNan(f80, y)),
      () => b.set(out, propagateNan(b, f80, [x, y])),
      () =>
        b.if(
          or(isInfinity(f80, x), isZero(y)),
          () => b.set(out, packInvalid(b, f80)),
          () => {
            raiseFlags(b, or(normalise(b, f80, x, control), normalise(b, f80, y, control)));
            b.if(
              isZero(x),
              () => b.set(out, packZero(b, f80, x.sign)),
              () => b.set(out, finiteRemainder(b, x, y, nearest, control)),
            );
          },
        ),
    );
    return out;
  },
};

/** `f80_significand` (s, e): the significand with exponent 0, raising FXTRACT's exceptions. */
const significandOf: LibraryFunction = {
  name: 'f80_significand',
  params: ['i64', 'i32'],
  result: 'i64',
  body(b, s, e) {
    const x = unpack(b, f80, [s, e]);
    const out = b.variable(i64(0));
    b.if(
      isNan(f80, x),
      () => b.set(out, propagateNan(b, f80, [x])),
      () =>
        b.if(
          isInfinity(f80, x),
          () => b.set(out, packInfinity(b, f80, x.sign)),
          () => {
            raiseFlags(b, normalise(b, f80, x, i32(0)));
            b.if(isZero(x), () => raiseFlags(b, i32(exception.zeroDivide)));
            b.set(out, packUnnormalised(b, x.sign, i32(f80.bias), x.significand, i32(0x3f)));
          },
        ),
    );
    return out;
  },
};

/** `f80_exponent` (s, e): the exponent as a number; −∞ of zero; silent. */
const exponentOf: LibraryFunction = {
  name: 'f80_exponent',
  params: ['i64', 'i32'],
  result: 'i64',
  body(b, s, e) {
    const x = unpack(b, f80, [s, e]);
    const out = b.variable(i64(0));
    b.if(
      isNan(f80, x),
      () => b.set(out, propagateNan(b, f80, [x])),
      () =>
        b.if(
          isInfinity(f80, x),
          () => b.set(out, packInfinity(b, f80, i32(0))),
          () => {
            normalise(b, f80, x, i32(0));
            b.if(
              isZero(x),
              () => b.set(out, packInfinity(b, f80, i32(1))),
              () => b.set(out, b.call('i64_to_f80', extendSigned(sub(x.exponent, i32(f80.bias))))),
            );
          },
        ),
    );
    return out;
  },
};

const extendSigned = (e: Expr): Expr => convert(e, 4, 8, true);

/** A power of two that is enough for FSCALE to take any number out of range. */
const scaleLimit = 0x10000;

/** `f80_scale` (as, ae, bs, be, control): a · 2^trunc(b). */
const scale: LibraryFunction = {
  name: 'f80_scale',
  params: ['i64', 'i32', 'i64', 'i32', 'i32'],
  result: 'i64',
  body(b, aSignificand, aExponent, bSignificand, bExponent, control) {
    const x = unpack(b, f80, [aSignificand, aExponent]);
    const y = unpack(b, f80, [bSignificand, bExponent]);
    const out = b.variable(i64(0));
    b.if(
      or(isNan(f80, x), isNan(f80, y)),
      () => b.set(out, propagateNan(b, f80, [x, y])),
      () => {
        const denormal = b.let(or(normalise(b, f80, x, control), normalise(b, f80, y, control)));
        b.if(
          isInfinity(f80, y),
          () => b.set(out, scaleByInfinity(b, x, y, denormal)),
          () => {
            raiseFlags(b, denormal);
            b.if(
              isInfinity(f80, x),
              () => b.set(out, packInfinity(b, f80, x.sign)),
              () =>
                b.if(
                  isZero(x),
                  () => b.set(out, packZero(b, f80, x.sign)),
                  () => b.set(out, scaleFinite(b, x, y, control)),
                ),
            );
          },
        );
      },
    );
    return out;
  },
};

/** Scaling by ±∞ (SDM vol. 2, FSCALE's table of results). */
function scaleByInfinity(b: Builder, x: Parts, y: Parts, denormal: Expr): Expr {
  const out = b.variable(i64(0));
  const invalid = select(y.sign, isInfinity(f80, x), isZero(x));
  b.if(
    invalid,
    () => b.set(out, packInvalid(b, f80)),
    () => {
      raiseFlags(b, denormal);
      b.if(
        y.sign,
        () => b.set(out, packZero(b, f80, x.sign)),
        () => b.set(out, packInfinity(b, f80, x.sign)),
      );
    },
  );
  return out;
}

function scaleFinite(b: Builder, x: Parts, y: Parts, control: Expr): Expr {
  const power = b.let(sub(y.exponent, i32(f80.bias)));
  const count: Variable = b.variable(i32(0));
  b.if(gtS(power, i32(-1)), () => {
    b.set(count, i32(scaleLimit));
    b.if(leS(power, i32(15)), () => b.set(count, toI32(shrU(y.significand, toI64(sub(i32(63), power))))));
  });
  const exponent = add(x.exponent, select(y.sign, sub(i32(0), count), count));
  // FSCALE rounds to full precision whatever the precision control says.
  return b.call('f80_pack', x.sign, exponent, x.significand, i64(0), or(control, i32(0x300)));
}

/**
 * `f80_remainder` (as, ae, bs, be, nearest, control): FPREM, or FPREM1; `floatFlags` gets C0–C3 at the bits of the
 * status word. `f80_significand` and `f80_exponent` (s, e): the two results of FXTRACT.
 */
export const extendedFunctions: readonly LibraryFunction[] = [scale, remainder, significandOf, exponentOf];
