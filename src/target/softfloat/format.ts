/**
 * Floating-point formats and their unpacked form.
 *
 * Every format unpacks into the shape of the x87's: a significand whose bit 63
 * is the integer bit, and a biased exponent. A finite value is
 * significand · 2^(exponent − bias − 63). A NaN's quiet bit is bit 62.
 */
import {
  and,
  type Builder,
  clz,
  type Expr,
  eq,
  eqz,
  geS,
  gtU,
  i32,
  i64,
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
  type Variable,
} from '../ir/index.ts';
import { floatExponent, floatFlags } from '../x86/state.ts';

export interface FloatFormat {
  readonly name: 'f16' | 'f32' | 'f64' | 'f80';
  /** Type of the raw bits (of the significand for f80). */
  readonly type: 'i32' | 'i64';
  /** Bits of the significand, the integer bit included. */
  readonly precision: number;
  /** The exponent field of infinities and NaNs. */
  readonly maxExponent: number;
  readonly bias: number;
}

export const f16: FloatFormat = { name: 'f16', type: 'i32', precision: 11, maxExponent: 31, bias: 15 };
export const f32: FloatFormat = { name: 'f32', type: 'i32', precision: 24, maxExponent: 255, bias: 127 };
export const f64: FloatFormat = { name: 'f64', type: 'i64', precision: 53, maxExponent: 2047, bias: 1023 };
export const f80: FloatFormat = { name: 'f80', type: 'i64', precision: 64, maxExponent: 0x7fff, bias: 0x3fff };

/** Exception bits of `floatFlags`. */
export const exception = { invalid: 1, denormal: 2, zeroDivide: 4, overflow: 8, underflow: 16, precision: 32 } as const;
/** Bit of `floatFlags`: rounding increased the magnitude (x87 C1). */
export const roundedUp: number = 1 << 9;
/** Rounding modes as in MXCSR.RC and the control word's RC. */
export const rounding = { nearest: 0, down: 1, up: 2, zero: 3 } as const;
/** Bits of MXCSR. */
export const mxcsrBits = {
  daz: 1 << 6,
  overflowMask: 1 << 10,
  underflowMask: 1 << 11,
  roundingShift: 13,
  ftz: 1 << 15,
} as const;

export const integerBit: Expr = i64(1n << 63n);
const quietBit = i64(1n << 62n);
/** The exponent that an unpacked zero gets from `normalise`: below all others, so that it aligns away. */
export const zeroExponent = -0x10000;

/** An unpacked value. */
export interface Parts {
  /** 0 or 1. */
  readonly sign: Expr;
  readonly exponent: Variable;
  readonly significand: Variable;
}

/** Ors exception bits into `floatFlags`. */
export function raiseFlags(b: Builder, bits: Expr): void {
  b.put(floatFlags, or(b.get(floatFlags), bits));
}

/** 1 where `e` is not 0, as i64. */
export const sticky = (e: Expr): Expr => toI64(ne(e, i64(0)));

/** How many function arguments a value takes, and their types. */
export const valueParams = (format: FloatFormat): ('i32' | 'i64')[] =>
  format.name === 'f80' ? ['i64', 'i32'] : [format.type];

/** Takes a raw value apart; denormals are not normalised yet. */
export function unpack(b: Builder, format: FloatFormat, value: readonly Expr[]): Parts {
  if (format.name === 'f80') {
    return {
      sign: b.let(and(shrU(value[1], i32(15)), i32(1))),
      exponent: b.variable(and(value[1], i32(0x7fff))),
      significand: b.variable(value[0]),
    };
  }
  const stored = format.precision - 1;
  const bits = b.let(toI64(value[0]));
  const exponent = b.variable(and(toI32(shrU(bits, i64(stored))), i32(format.maxExponent)));
  const fraction = shrU(shl(bits, i64(64 - stored)), i64(1));
  return {
    sign: b.let(and(toI32(shrU(bits, i64(signBit(format)))), i32(1))),
    exponent,
    significand: b.variable(or(fraction, shl(toI64(ne(exponent, i32(0))), i64(63)))),
  };
}

/** The number of the sign bit in a raw value. */
const signBit = (format: FloatFormat): number => format.precision - 1 + Math.log2(format.maxExponent + 1);

/** Puts a raw value together; integer bit and exponent must agree. For f80 the exponent goes to `floatExponent`. */
export function pack(b: Builder, format: FloatFormat, sign: Expr, exponent: Expr, significand: Expr): Expr {
  if (format.name === 'f80') {
    b.put(floatExponent, or(shl(sign, i32(15)), exponent));
    return significand;
  }
  const stored = format.precision - 1;
  const fraction = shrU(shl(significand, i64(1)), i64(64 - stored));
  return packBits(format, sign, or(shl(toI64(exponent), i64(stored)), fraction));
}

/** Sign and magnitude bits (i64) as a raw value of a format that is not f80. */
export function packBits(format: FloatFormat, sign: Expr, magnitude: Expr): Expr {
  const bits = or(shl(toI64(sign), i64(signBit(format))), magnitude);
  return format.type === 'i64' ? bits : toI32(bits);
}

export const packZero = (b: Builder, format: FloatFormat, sign: Expr): Expr => pack(b, format, sign, i32(0), i64(0));
export const packInfinity = (b: Builder, format: FloatFormat, sign: Expr): Expr =>
  pack(b, format, sign, i32(format.maxExponent), integerBit);

/** Raises IE; the default NaN. */
export function packInvalid(b: Builder, format: FloatFormat): Expr {
  raiseFlags(b, i32(exception.invalid));
  return pack(b, format, i32(1), i32(format.maxExponent), i64(3n << 62n));
}

/** Neither zero, denormal, infinite, NaN nor unsupported. */
export function isOrdinary(format: FloatFormat, x: Parts): Expr {
  const inRange = ltU(sub(x.exponent, i32(1)), i32(format.maxExponent - 1));
  return format.name === 'f80' ? and(inRange, ltS(x.significand, i64(0))) : inRange;
}

export const isInfinity = (format: FloatFormat, x: Parts): Expr =>
  and(eq(x.exponent, i32(format.maxExponent)), eq(x.significand, integerBit));
export const isZero = (x: Parts): Expr => eqz(x.significand);
/** A NaN, or (f80) an encoding that the x87 does not support, which is invalid too. */
export function isNan(format: FloatFormat, x: Parts): Expr {
  const nan = and(eq(x.exponent, i32(format.maxExponent)), ne(x.significand, integerBit));
  return format.name === 'f80' ? or(nan, isUnsupported(x)) : nan;
}
/** Unnormals, pseudo-infinities and pseudo-NaNs (SDM vol. 1, 8.2.2). */
export const isUnsupported = (x: Parts): Expr => and(ne(x.exponent, i32(0)), geS(x.significand, i64(0)));
/** Of a NaN: it signals, or is unsupported. */
export const isSignalling = (x: Parts): Expr => eqz(and(x.significand, quietBit));

/** Raises IE if any of `operands` is a signalling NaN or unsupported. */
export function raiseIfSignalling(b: Builder, format: FloatFormat, operands: readonly Parts[]): void {
  const invalid = (x: Parts) => {
    const signals = and(isNan(format, x), isSignalling(x));
    return format.name === 'f80' ? or(signals, isUnsupported(x)) : signals;
  };
  b.if(operands.map(invalid).reduce(or), () => raiseFlags(b, i32(exception.invalid)));
}

/** The NaN that an operation returns for operands of which at least one is a NaN; raises IE as due. */
export function propagateNan(b: Builder, format: FloatFormat, operands: readonly Parts[]): Expr {
  raiseIfSignalling(b, format, operands);
  if (format.name === 'f80') return propagateX87(b, operands);
  const last = operands[operands.length - 1];
  const sign = b.variable(last.sign);
  const significand = b.variable(last.significand);
  for (const x of operands.slice(0, -1).reverse()) {
    b.if(isNan(format, x), () => {
      b.set(sign, x.sign);
      b.set(significand, x.significand);
    });
  }
  return pack(b, format, sign, i32(format.maxExponent), or(significand, quietBit));
}

/** x87 rule (SDM vol. 1, table 4-7): a quiet NaN before a signalling one, then the larger significand, then the positive one. */
function propagateX87(b: Builder, operands: readonly Parts[]): Expr {
  const sign = b.variable(i32(1));
  const significand = b.variable(i64(0));
  const quiet = b.variable(i32(0));
  const unsupported = b.variable(i32(0));
  operands.forEach((x, i) => {
    b.set(unsupported, or(unsupported, isUnsupported(x)));
    b.if(isNan(f80, x), () => {
      const isQuiet = b.let(eqz(isSignalling(x)));
      const larger = or(gtU(x.significand, significand), and(eq(x.significand, significand), eqz(x.sign)));
      const better = i === 0 ? i32(1) : or(and(isQuiet, eqz(quiet)), and(eq(isQuiet, quiet), larger));
      b.if(better, () => {
        b.set(sign, x.sign);
        b.set(significand, x.significand);
        b.set(quiet, isQuiet);
      });
    });
  });
  b.if(unsupported, () => {
    b.set(sign, i32(1));
    b.set(significand, integerBit);
  });
  return pack(b, f80, sign, i32(f80.maxExponent), or(significand, quietBit));
}

/**
 * Makes a finite operand ready for arithmetic: denormals get their integer bit
 * (and an exponent below 1), zeros `zeroExponent`; with DAZ denormals become
 * zeros. Returns DE's bit if the operand was a denormal, else 0.
 */
export function normalise(b: Builder, format: FloatFormat, x: Parts, control: Expr): Expr {
  const denormal = b.variable(i32(0));
  b.if(eqz(x.exponent), () => {
    if (format.name === 'f32' || format.name === 'f64') {
      b.if(and(control, i32(mxcsrBits.daz)), () => b.set(x.significand, i64(0)));
    }
    b.if(
      eqz(x.significand),
      () => b.set(x.exponent, i32(zeroExponent)),
      () => {
        b.set(denormal, i32(exception.denormal));
        const shift = b.let(clz(x.significand));
        b.set(x.significand, shl(x.significand, shift));
        b.set(x.exponent, sub(i32(1), toI32(shift)));
      },
    );
  });
  return denormal;
}

/** RC of an argument that is MXCSR, or the control word for f80. */
export const roundingMode = (format: FloatFormat, control: Expr): Expr =>
  and(shrU(control, i32(format.name === 'f80' ? 10 : mxcsrBits.roundingShift)), i32(3));

/** 1 where `mode` rounds a number of this sign away from zero. */
export const roundsAway = (mode: Expr, sign: Expr): Expr =>
  eq(mode, select(sign, i32(rounding.down), i32(rounding.up)));

/** 1 if a magnitude with low bit `odd` and the 64 bits `rest` behind it is to be incremented. */
export function incrementFor(b: Builder, mode: Expr, sign: Expr, odd: Expr, rest: Expr): Expr {
  const up = b.variable(i32(0));
  b.if(
    eqz(mode),
    () => b.set(up, or(gtU(rest, integerBit), and(eq(rest, integerBit), odd))),
    () => b.set(up, and(roundsAway(mode, sign), ne(rest, i64(0)))),
  );
  return up;
}

/** `x >> count` with the lost bits ored into bit 0; `count` (i32) is at least 1. */
export function shiftRightSticky(b: Builder, x: Expr, count: Expr): Expr {
  const shift = b.let(toI64(select(leS(count, i32(63)), count, i32(63))));
  const shifted = b.let(shrU(x, shift));
  return b.let(or(shifted, sticky(sub(shl(shifted, shift), x))));
}

/** A zero of the type of the format's raw bits. */
export const zeroOf = (format: FloatFormat): Expr => (format.type === 'i64' ? i64(0) : i32(0));

/** MXCSR with RC replaced by bits 0–1 of `imm` unless its bit 2 is set. */
export const modeFromImmediate = (imm: Expr, mxcsr: Expr): Expr =>
  select(
    and(imm, i32(4)),
    mxcsr,
    or(and(mxcsr, i32(~(3 << mxcsrBits.roundingShift))), shl(and(imm, i32(3)), i32(mxcsrBits.roundingShift))),
  );
