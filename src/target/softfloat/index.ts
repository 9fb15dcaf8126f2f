/**
 * IEEE 754 arithmetic with x86's rules, as library functions of the IR: any
 * rounding mode, exact exception flags, x86's NaN rules (SDM vol. 1, 4.8.3,
 * 4.9, 8.5, 11.5). Values are raw bits: f16 and f32 in an i32, f64 in an i64,
 * f80 as a significand (i64) and sign-and-exponent (i32, 16 bits).
 *
 * Exceptions are ORed into state field `floatFlags` (bits 0–5 as MXCSR's IE DE
 * ZE OE UE PE; bit 9: magnitude rounded up): clear it, call, look. The result
 * is the masked response whatever is masked; a caller that finds
 * `floatFlags & ~masks` stores nothing (SSE: when one of the low three is
 * unmasked then OE, UE and PE of the whole instruction are dropped). The masks
 * matter inside only where x86 says so: UE is raised for a tiny exact result
 * only when unmasked, and FTZ works only while UE is masked.
 *
 * | function                                               | result | notes |
 * |--------------------------------------------------------|--------|-------|
 * | `f32_add f32_sub f32_mul f32_div` (a, b, mxcsr)        | i32    | NaN: the first operand that is one, quieted |
 * | `f64_add f64_sub f64_mul f64_div` (a, b, mxcsr)        | i64    | |
 * | `f32_sqrt` `f64_sqrt` (a, mxcsr)                       | as a   | |
 * | `f32_fma` `f64_fma` (a, b, c, negate, mxcsr)           | as a   | ±(a·b) ± c rounded once; negate i32: bit 0 the product, bit 1 c; NaN: first of a, b, c |
 * | `f32_to_f64` (a, mxcsr)                                | i64    | |
 * | `f64_to_f32` (a, mxcsr)                                | i32    | |
 * | `f32_to_i32 f64_to_i32` (a, mxcsr)                     | i32    | out of range: 1 << 31 and IE; to truncate pass `mxcsr | 0x6000` |
 * | `f32_to_i64 f64_to_i64` (a, mxcsr)                     | i64    | out of range: 1 << 63 and IE |
 * | `i32_to_f32 i64_to_f32` (value, mxcsr)                 | i32    | i32_to_f64 is always exact: use f64.convert_i32_s |
 * | `i64_to_f64` (value, mxcsr)                            | i64    | |
 * | `f32_round` `f64_round` (a, imm, mxcsr)                | as a   | ROUNDSS's imm8: bits 0–1 mode, bit 2 mode from MXCSR, bit 3 no PE |
 * | `f32_compare` `f64_compare` (a, b, signalling, mxcsr)  | i32    | EFLAGS image as COMISS: greater 0, less 1, equal 0x40, unordered 0x45; IE for SNaN, or any NaN if signalling; DE |
 * | `f16_to_f32` (a, mxcsr)                                | i32    | DAZ ignored, never DE |
 * | `f32_to_f16` (a, imm, mxcsr)                           | i32    | VCVTPS2PH's imm8: bits 0–1 mode, bit 2 mode from MXCSR; FTZ ignored |
 *
 * For the x87 the last argument is the control word; values `s, e` are a pair
 * of significand and exponent, an f80 result returns the significand and puts
 * the exponent into state field `floatExponent`.
 *
 * | function                                               | result |
 * |--------------------------------------------------------|--------|
 * | `f80_add f80_sub f80_mul f80_div` (as, ae, bs, be, control) | f80, rounded to the precision control; unmasked OE and UE: bias-adjusted |
 * | `f80_sqrt f80_round` (as, ae, control)                 | f80    |
 * | `f80_scale` (as, ae, bs, be, control)                  | f80    |
 * | `f80_remainder` (as, ae, bs, be, nearest, control)     | f80; `floatFlags` gets C0–C3 of FPREM (or FPREM1) as in the status word |
 * | `f80_significand f80_exponent` (as, ae)                | f80: FXTRACT's results |
 * | `f80_f2xm1 f80_fsin f80_fcos f80_fptan` (as, ae, control) | f80; angles below 2^63 |
 * | `f80_fyl2x f80_fyl2xp1 f80_fpatan` (as, ae, bs, be, control) | f80; a is ST(0), b ST(1) |
 * | `f80_compare` (as, ae, bs, be, signalling)             | i32 as above |
 * | `f80_to_f32` i32, `f80_to_f64` i64 (as, ae, control)   |        |
 * | `f80_to_i16 f80_to_i32` i32, `f80_to_i64` i64 (as, ae, control) |  |
 * | `f32_to_f80 f64_to_f80` (a), `i64_to_f80` (value)      | f80, exact |
 * | `f32_widen_f80 f64_widen_f80` (a)                      | f80; a signalling NaN stays one, silently |
 */
import type { LibraryFunction } from '../ir/index.ts';
import { arithmeticFunctions } from './arithmetic.ts';
import { compareFunctions } from './compare.ts';
import { conversionFunctions } from './convert.ts';
import { extendedFunctions } from './extended.ts';
import { f16, f32, f64, f80 } from './format.ts';
import { integerFunctions } from './integer.ts';
import { packExtended, packFunction } from './round.ts';
import { transcendentalFunctions } from './transcendental.ts';

/** Every soft-float function. */
export const softfloatLibrary: readonly LibraryFunction[] = [
  packFunction(f16),
  packFunction(f32),
  packFunction(f64),
  packExtended,
  ...[f32, f64, f80].flatMap(arithmeticFunctions),
  ...conversionFunctions,
  ...integerFunctions,
  ...compareFunctions,
  ...extendedFunctions,
  ...transcendentalFunctions,
];
