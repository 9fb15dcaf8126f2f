/**
 * Rounding and packing: from sign, exponent and a normalised significand of
 * unlimited precision to the raw value, with OE, UE and PE and their masked
 * responses (SDM vol. 1, 4.9.1.4–4.9.1.6, 8.4, 8.5.4–8.5.6, 10.2.3.3).
 * Tininess is detected after rounding.
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  gtS,
  i32,
  i64,
  type LibraryFunction,
  leS,
  ltS,
  ltU,
  ne,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
} from '../ir/index.ts';
import {
  exception,
  type FloatFormat,
  f80,
  incrementFor,
  integerBit,
  mxcsrBits,
  pack,
  packBits,
  packZero,
  raiseFlags,
  roundedUp,
  rounding,
  roundingMode,
  roundsAway,
  shiftRightSticky,
  sticky,
} from './format.ts';
import { shiftRightWide } from './wide.ts';

/** 1 where overflow gives infinity and not the largest finite number. */
const overflowsToInfinity = (mode: Expr, sign: Expr): Expr => or(eqz(mode), roundsAway(mode, sign));

/**
 * `<format>_pack` (sign, exponent, significand, mxcsr) for f16, f32 and f64.
 * The significand has bit 63 set and a sticky bit 0.
 */
export function packFunction(format: FloatFormat): LibraryFunction {
  const { precision, maxExponent } = format;
  const drop = 64 - precision;
  const dropped = i64((1n << BigInt(drop)) - 1n);
  return {
    name: `${format.name}_pack`,
    params: ['i32', 'i32', 'i64', 'i32'],
    result: format.type,
    body(b, sign, exponent, significand, mxcsr) {
      const mode = b.let(roundingMode(format, mxcsr));
      const away = b.let(roundsAway(mode, sign));
      /** 1 if cutting `drop` bits off `value` rounds up. */
      const increment = (value: Expr) => {
        const toNearest = add(i64((1n << BigInt(drop - 1)) - 1n), and(shrU(value, i64(drop)), i64(1)));
        const addend = select(eqz(mode), toNearest, select(away, dropped, i64(0)));
        return shrU(add(and(value, dropped), addend), i64(drop));
      };
      const tiny = b.variable(i32(0));
      const flush = b.variable(i32(0));
      const masked = b.variable(i32(0));
      b.if(leS(exponent, i32(0)), () => {
        const carries = eq(add(shrU(significand, i64(drop)), increment(significand)), i64(1n << BigInt(precision)));
        b.set(tiny, eqz(and(eqz(exponent), carries)));
        b.set(masked, ne(and(mxcsr, i32(mxcsrBits.underflowMask)), i32(0)));
        const canFlush = and(masked, ne(and(mxcsr, i32(mxcsrBits.ftz)), i32(0)));
        b.set(flush, format.name === 'f16' ? i32(0) : and(tiny, canFlush));
        // Unmasked, precision is lost only where the normal precision does not suffice; nothing will be stored.
        b.if(or(masked, eqz(tiny)), () => b.set(significand, shiftRightSticky(b, significand, sub(i32(1), exponent))));
        b.set(exponent, i32(1));
      });
      const inexact = b.let(ne(and(significand, dropped), i64(0)));
      const up = b.let(increment(significand));
      const capped = select(gtS(exponent, i32(maxExponent)), i32(maxExponent), exponent);
      const exponentBits = shl(toI64(sub(capped, i32(1))), i64(precision - 1));
      const magnitude = b.variable(add(add(shrU(significand, i64(drop)), up), exponentBits));
      const flags = b.variable(or(shl(inexact, i32(5)), shl(toI32(up), i32(9))));
      const infinity = BigInt(maxExponent) << BigInt(precision - 1);
      b.if(tiny, () => {
        const underflow = or(inexact, eqz(masked));
        b.set(flags, or(flags, select(underflow, i32(exception.underflow), i32(0))));
      });
      b.if(ltU(i64(infinity - 1n), magnitude), () => {
        const infinite = b.let(overflowsToInfinity(mode, sign));
        b.set(magnitude, sub(i64(infinity), toI64(eqz(infinite))));
        const overflow = or(i32(exception.overflow | exception.precision), select(infinite, i32(roundedUp), i32(0)));
        b.set(flags, select(and(mxcsr, i32(mxcsrBits.overflowMask)), overflow, or(flags, i32(exception.overflow))));
      });
      b.if(flush, () => {
        b.set(magnitude, i64(0));
        b.set(flags, i32(exception.underflow | exception.precision));
      });
      raiseFlags(b, flags);
      return packBits(format, sign, magnitude);
    },
  };
}

/** Rounds a significand with 64 further bits behind it to the precision that `control` selects. */
function roundToPrecision(
  b: Builder,
  sign: Expr,
  significand: Expr,
  rest: Expr,
  control: Expr,
): { rounded: Expr; up: Expr; inexact: Expr } {
  const mode = b.let(roundingMode(f80, control));
  const precisionControl = b.let(and(control, i32(0x300)));
  const rounded = b.variable(significand);
  const up = b.variable(i32(0));
  const inexact = b.variable(ne(rest, i64(0)));
  b.if(
    and(control, i32(0x100)),
    () => {
      b.set(up, incrementFor(b, mode, sign, toI32(and(significand, i64(1))), rest));
      b.set(rounded, add(significand, toI64(up)));
    },
    () => {
      const drop = b.let(select(eqz(precisionControl), i64(40), i64(11)));
      const kept = b.let(shrU(significand, drop));
      const tail = b.let(or(shl(significand, sub(i64(64), drop)), sticky(rest)));
      b.set(up, incrementFor(b, mode, sign, toI32(and(kept, i64(1))), tail));
      b.set(rounded, shl(add(kept, toI64(up)), drop));
      b.set(inexact, ne(tail, i64(0)));
    },
  );
  return { rounded, up, inexact };
}

/**
 * What is added to or taken from the exponent of an unmasked underflow or overflow (SDM vol. 1, 8.5.4). Where that is
 * not enough (FSCALE) the result is zero or infinity.
 */
const biasAdjustment = 24576;

/** `f80_pack` (sign, exponent, significand, rest, control): `rest` is the 64 bits behind the significand, sticky bit 0. */
export const packExtended: LibraryFunction = {
  name: 'f80_pack',
  params: ['i32', 'i32', 'i64', 'i64', 'i32'],
  result: 'i64',
  body(b, sign, exponent, significand, rest, control) {
    const tiny = b.variable(i32(0));
    const flags = b.variable(i32(0));
    const hopeless = b.variable(i32(0));
    b.if(leS(exponent, i32(0)), () => {
      const trial = roundToPrecision(b, sign, significand, rest, control);
      b.set(tiny, eqz(and(eqz(exponent), eqz(trial.rounded))));
      b.if(tiny, () =>
        b.if(
          and(control, i32(exception.underflow)),
          () => {
            const shifted = shiftRightWide(b, { high: significand, low: rest }, sub(i32(1), exponent));
            b.set(significand, shifted.high);
            b.set(rest, shifted.low);
            b.set(exponent, i32(0));
          },
          () => {
            b.set(flags, i32(exception.underflow));
            b.set(exponent, add(exponent, i32(biasAdjustment)));
            b.set(hopeless, leS(exponent, i32(0)));
          },
        ),
      );
    });
    const { rounded, up, inexact } = roundToPrecision(b, sign, significand, rest, control);
    const result = b.variable(rounded);
    b.if(and(up, ltU(rounded, significand)), () => {
      b.set(result, integerBit);
      b.set(exponent, add(exponent, i32(1)));
    });
    // A denormal that was rounded up to the smallest normal number.
    b.if(and(eqz(exponent), ltS(result, i64(0))), () => b.set(exponent, i32(1)));
    b.set(flags, or(flags, or(shl(inexact, i32(5)), shl(up, i32(9)))));
    b.if(and(tiny, inexact), () => b.set(flags, or(flags, i32(exception.underflow))));
    b.if(gtS(exponent, i32(f80.maxExponent - 1)), () =>
      b.if(
        and(control, i32(exception.overflow)),
        () => {
          const infinite = b.let(overflowsToInfinity(roundingMode(f80, control), sign));
          const drop = select(and(control, i32(0x100)), i64(0), select(and(control, i32(0x200)), i64(11), i64(40)));
          b.set(result, select(infinite, integerBit, shl(i64(-1), drop)));
          b.set(exponent, sub(i32(f80.maxExponent), eqz(infinite)));
          b.set(flags, or(i32(exception.overflow | exception.precision), select(infinite, i32(roundedUp), i32(0))));
        },
        () => {
          b.set(flags, or(flags, i32(exception.overflow)));
          b.set(exponent, sub(exponent, i32(biasAdjustment)));
          b.if(gtS(exponent, i32(f80.maxExponent - 1)), () => {
            b.set(result, integerBit);
            b.set(exponent, i32(f80.maxExponent));
            b.set(flags, i32(exception.overflow | exception.precision | roundedUp));
          });
        },
      ),
    );
    b.if(hopeless, () => {
      b.set(result, i64(0));
      b.set(exponent, i32(0));
      b.set(flags, i32(exception.underflow | exception.precision));
    });
    raiseFlags(b, flags);
    return pack(b, f80, sign, exponent, result);
  },
};

/** An exact zero of a difference: negative only when rounding down. */
export const zeroSignOf = (format: FloatFormat, control: Expr): Expr =>
  eq(roundingMode(format, control), i32(rounding.down));

/** Rounds (or returns a zero of `sign`) what an operation computed, in the form that all operations produce. */
export function finish(
  b: Builder,
  format: FloatFormat,
  r: { sign: Expr; exponent: Expr; high: Expr; low: Expr },
  control: Expr,
): Expr {
  const out = b.variable(format.type === 'i64' ? i64(0) : i32(0));
  b.if(
    eqz(r.high),
    () => b.set(out, packZero(b, format, r.sign)),
    () =>
      b.set(
        out,
        format.name === 'f80'
          ? b.call('f80_pack', r.sign, r.exponent, r.high, r.low, control)
          : b.call(`${format.name}_pack`, r.sign, r.exponent, or(r.high, sticky(r.low)), control),
      ),
  );
  return out;
}
