/** What semantics and the `x87` helper (system/x87.ts) say to each other. */

/** Operations on ST(0), or ST(0) and ST(1). */
export const x87Operation = {
  /** 2^ST(0) − 1 */
  powerOfTwo: 0,
  /** ST(1) · log2 ST(0) */
  logarithm: 1,
  /** ST(1) · log2(ST(0) + 1) */
  logarithmOfNext: 2,
  /** The angle of (ST(0), ST(1)) */
  arctangent: 3,
  tangent: 4,
  sine: 5,
  cosine: 6,
} as const;
export type X87OperationName = keyof typeof x87Operation;

/**
 * Low half of arg0 afterwards. `number`: to be rounded; sign in the high half of arg0, significand in arg1, the 64 bits behind
 * it in arg2, biased exponent (signed) in arg3. `exact`: significand in arg1, sign and exponent in arg3. `tooLarge`: C2.
 */
export const x87Answer = { number: 0, exact: 1, tooLarge: 2 } as const;
