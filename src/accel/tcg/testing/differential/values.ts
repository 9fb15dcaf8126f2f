/** Operand values worth testing: the corners of integers and floats, and random ones between. */
import type { Random } from './random.ts';

const integerCorners: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  0x7fn,
  0x80n,
  0x81n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x1_0000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0x8000_0001n,
  0xffff_fffen,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_fffen,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0x8000_0000_0000_0001n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_8000n,
  0xffff_ffff_ffff_ff80n,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
  0x0123_4567_89ab_cdefn,
  0x8080_8080_8080_8080n,
];

/** A 64-bit integer, all sizes of it interesting. */
export function integer(r: Random): bigint {
  switch (r.below(8)) {
    case 0:
    case 1:
      return r.pick(integerCorners);
    case 2:
      return BigInt(r.below(256));
    case 3:
      return BigInt.asUintN(64, -BigInt(r.below(4096)));
    case 4:
      return 1n << BigInt(r.below(64));
    case 5:
      return r.u64() >> BigInt(r.below(64));
    default:
      return r.u64();
  }
}

/** Exponent (biased), fraction width and a generator for one IEEE format's bit patterns. */
interface FloatFormat {
  readonly exponentBits: number;
  readonly fractionBits: number;
}
const half: FloatFormat = { exponentBits: 5, fractionBits: 10 };
const single: FloatFormat = { exponentBits: 8, fractionBits: 23 };
const double: FloatFormat = { exponentBits: 11, fractionBits: 52 };

/** A bit pattern: zeros, denormals, the ends of the range, infinities, NaNs of both kinds, integers and halves, anything. */
function float(r: Random, { exponentBits, fractionBits }: FloatFormat): bigint {
  const bits = BigInt(fractionBits);
  const maxExponent = (1n << BigInt(exponentBits)) - 1n;
  const bias = maxExponent >> 1n;
  const anyFraction = () => BigInt.asUintN(fractionBits, r.u64());
  const fraction = () =>
    r.pick([
      () => 0n,
      () => 1n,
      () => (1n << bits) - 1n,
      () => 1n << (bits - 1n),
      () => BigInt.asUintN(fractionBits, r.u64() << BigInt(r.below(64))),
      anyFraction,
    ])();
  const sign = BigInt(r.below(2)) << (bits + BigInt(exponentBits));
  const build = (exponent: bigint, low: bigint) => sign | (exponent << bits) | low;
  switch (r.below(16)) {
    case 0:
      return build(0n, 0n);
    case 1:
      return build(0n, fraction());
    case 2:
      return build(maxExponent, 0n);
    case 3:
      return build(maxExponent, anyFraction() | (1n << (bits - 1n))); // quiet
    case 4:
      return build(maxExponent, (anyFraction() >> 1n) | 1n); // signalling
    case 5:
      return build(1n + BigInt(r.below(3)), fraction());
    case 6:
      return build(maxExponent - 1n - BigInt(r.below(3)), fraction());
    case 7:
    case 8:
      return build(bias + BigInt(r.below(4)) - 2n, fraction());
    case 9:
    case 10:
      return build(
        bias + BigInt(r.below(Number(bits) + 14)) - 4n,
        fraction() & ~((1n << BigInt(r.below(fractionBits))) - 1n),
      );
    case 11:
      return build((bias + BigInt(r.pick([30, 31, 32, 62, 63, 64]))) & maxExponent, r.pick([0n, fraction()])); // ends of the integers
    case 12:
    case 13:
      return build(bias + BigInt(r.below(40)) - 20n, anyFraction());
    default:
      return build(BigInt.asUintN(exponentBits, r.u64()), anyFraction());
  }
}

export const float16 = (r: Random): bigint => float(r, half);
export const float32 = (r: Random): bigint => float(r, single);
export const float64 = (r: Random): bigint => float(r, double);

/** An x87 extended value: significand and sign with exponent; unnormals and pseudo-denormals among them. */
export function float80(r: Random): { significand: bigint; exponent: number } {
  const sign = r.below(2) << 15;
  const top = 1n << 63n;
  const low = () =>
    r.pick([
      () => 0n,
      () => 1n,
      () => top - 1n,
      () => 1n << 62n,
      () => r.u64() >> 1n,
      () => BigInt.asUintN(63, r.u64() << BigInt(r.below(64))),
    ])();
  switch (r.below(18)) {
    case 0:
      return { significand: 0n, exponent: sign };
    case 1:
      return { significand: low(), exponent: sign }; // denormal
    case 2:
      return { significand: top | low(), exponent: sign }; // pseudo-denormal
    case 3:
      return { significand: top, exponent: sign | 0x7fff };
    case 4:
      return { significand: top | (1n << 62n) | low(), exponent: sign | 0x7fff };
    case 5:
      return { significand: top | (low() >> 1n) | 1n, exponent: sign | 0x7fff };
    case 6:
      return { significand: low(), exponent: sign | (1 + r.below(0x7fff)) }; // unnormal, pseudo-NaN, pseudo-infinity
    case 7:
      return { significand: top | low(), exponent: sign | (1 + r.below(70)) };
    case 8:
      return { significand: top | low(), exponent: sign | (0x7ffe - r.below(70)) };
    case 9:
    case 10:
      return {
        significand: top | (low() & ~((1n << BigInt(r.below(63))) - 1n)),
        exponent: sign | (0x3fff + r.below(66)),
      }; // integers
    case 11:
      return {
        significand: top | low(),
        exponent: sign | (0x3fff + r.pick([-150, -149, -127, -126, 127, 128, -1075, -1074, -1023, -1022, 1023, 1024])),
      }; // ends of the short formats
    case 12:
    case 13:
    case 14:
      return { significand: top | low(), exponent: sign | (0x3ffc + r.below(6)) };
    case 15:
      return { significand: top | low(), exponent: sign | (0x3fff - 40 + r.below(110)) };
    default:
      return { significand: top | r.u64(), exponent: sign | r.below(0x7fff) };
  }
}

/** What the elements of a vector or a memory operand are taken to be. */
export type ElementKind =
  | 'bytes'
  | 'words'
  | 'dwords'
  | 'qwords'
  | 'half'
  | 'single'
  | 'double'
  | 'extended'
  | 'random';

/** `length` bytes of elements of `kind`. */
export function elements(r: Random, kind: ElementKind, length: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array((length + 15) & ~15);
  const view = new DataView(out.buffer);
  const fill = (step: number, next: () => bigint) => {
    // Half of the time equal elements repeat, so that comparisons meet equality.
    let value = next();
    const repeat = r.chance(20);
    for (let i = 0; i < out.length; i += step) {
      if (i && !(repeat && r.chance(60))) value = next();
      if (step === 8) view.setBigUint64(i, value, true);
      else if (step === 4) view.setUint32(i, Number(value & 0xffff_ffffn), true);
      else if (step === 2) view.setUint16(i, Number(value & 0xffffn), true);
      else view.setUint8(i, Number(value & 0xffn));
    }
  };
  switch (kind) {
    case 'bytes':
      fill(1, () => integer(r));
      break;
    case 'words':
      fill(2, () => integer(r));
      break;
    case 'dwords':
      fill(4, () => integer(r));
      break;
    case 'qwords':
      fill(8, () => integer(r));
      break;
    case 'half':
      fill(2, () => float16(r));
      break;
    case 'single':
      fill(4, () => float32(r));
      break;
    case 'double':
      fill(8, () => float64(r));
      break;
    case 'random':
      fill(4, () => BigInt(r.u32()));
      break;
    case 'extended':
      for (let i = 0; i < out.length; i += 16) {
        const { significand, exponent } = float80(r);
        view.setBigUint64(i, significand, true);
        view.setUint16(i + 8, exponent, true);
      }
  }
  return out.subarray(0, length);
}
