/** Sizes as people write them. */
import { UserError } from './errors.ts';

const SUFFIX_BYTES: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Bytes of a size such as `512M`: digits, then nothing, K, M, G or T for powers of 1024, in either case.
 * @param defaultSuffix What digits alone mean; '' is bytes.
 * @throws UserError when the text is no size, or not exact in a number.
 */
export function parseSize(text: string, defaultSuffix = ''): number {
  const match = /^(\d+)([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = match === null ? Number.NaN : Number(match[1]) * SUFFIX_BYTES[match[2].toUpperCase() || defaultSuffix];
  if (!Number.isSafeInteger(bytes))
    throw new UserError(`"${text}" is not a size: write digits and K, M or G, like 512M`);
  return bytes;
}

/** A size for people: '512 bytes', '64 KiB', '13.5 MiB'. */
export function sizeText(bytes: number): string {
  if (bytes < 2 ** 10) return `${bytes} bytes`;
  const [value, unit] = bytes < 2 ** 20 ? [bytes / 2 ** 10, 'KiB'] : [bytes / 2 ** 20, 'MiB'];
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${unit}`;
}
