/** Unsigned 32-bit arithmetic on numbers. JavaScript's bit operators are signed; these are not. */

/** Bits [low, low + width) of a 32-bit value. */
export function bits(value: number, low: number, width: number): number {
  return (value >>> low) & (width >= 32 ? -1 : (1 << width) - 1);
}

export function bit(value: number, index: number): boolean {
  return ((value >>> index) & 1) !== 0;
}

/** `value` with the bits of `mask` taken from `replacement`. */
export function mergeBits(value: number, mask: number, replacement: number): number {
  return ((value & ~mask) | (replacement & mask)) >>> 0;
}

/** The low `sizeBytes` (1, 2 or 4) of a value all ones. */
export function allOnes(sizeBytes: number): number {
  return sizeBytes === 4 ? 0xffff_ffff : (1 << (sizeBytes * 8)) - 1;
}

/** Index of the highest bit set, or -1 when there is none. */
export function highestBit(value: number): number {
  return 31 - Math.clz32(value);
}

/** Index of the lowest bit set, or -1 when there is none. */
export function lowestBit(value: number): number {
  return highestBit(value & -value);
}

/** 0 to 99 as two decimal digits in one byte. */
export function toBcd(value: number): number {
  return (Math.trunc(value / 10) << 4) | (value % 10);
}

/** The value of a byte of two decimal digits; digits above 9 count as they stand. */
export function fromBcd(value: number): number {
  return (value >> 4) * 10 + (value & 0xf);
}
