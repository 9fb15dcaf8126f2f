/** zlib streams (RFC 1950) over the compression joint, which knows only the deflate streams inside them. */
import type { Compression } from './compression.ts';
import { joinBytes, u32be, viewOf } from './layout.ts';

/** Deflate, window of 4 KiB; the two bytes are a multiple of 31. */
const HEADER = Uint8Array.of(0x48, 0x89);
const STORED_MAX_BYTES = 65_535;
const ADLER_MODULUS = 65_521;
/** Bytes that can be summed before the sums must be reduced. */
const ADLER_RUN_BYTES = 3800;

export function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let from = 0; from < bytes.length; from += ADLER_RUN_BYTES) {
    const to = Math.min(bytes.length, from + ADLER_RUN_BYTES);
    for (let i = from; i < to; i += 1) {
      a += bytes[i];
      b += a;
    }
    a %= ADLER_MODULUS;
    b %= ADLER_MODULUS;
  }
  return b * 65_536 + a;
}

/** One zlib stream with `source` in it, stored as it is where it does not get smaller. */
export async function packZlib(compression: Compression, source: Uint8Array): Promise<Uint8Array> {
  const sum = new Uint8Array(4);
  u32be.put(viewOf(sum), 0, adler32(source));
  const deflated = (await compression.compress('zlib', source)) ?? storedBlocks(source);
  return joinBytes([HEADER, deflated, sum]);
}

function storedBlocks(source: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let from = 0; from < source.length; from += STORED_MAX_BYTES) {
    const part = source.subarray(from, from + STORED_MAX_BYTES);
    const isLast = from + part.length === source.length;
    const { length } = part;
    parts.push(Uint8Array.of(Number(isLast), length & 0xff, length >> 8, ~length & 0xff, (~length >> 8) & 0xff), part);
  }
  return joinBytes(parts);
}

/**
 * Fills `target` exactly. `isExact` says that `packed` ends where the stream does, so that its checksum can be
 * looked at. @throws Error when the stream is broken, or holds less or more
 */
export async function unpackZlib(
  compression: Compression,
  packed: Uint8Array,
  target: Uint8Array,
  isExact = false,
): Promise<void> {
  if (packed.length < 6) throw new Error('a zlib stream has at least 6 bytes');
  const [method, flags] = packed;
  if ((method & 0x0f) !== 8 || (method * 256 + flags) % 31 !== 0 || (flags & 0x20) !== 0) {
    throw new Error('it does not begin as a zlib stream does');
  }
  await compression.decompress('zlib', packed.subarray(2), target);
  if (isExact && u32be.get(viewOf(packed), packed.length - 4) !== adler32(target)) {
    throw new Error('its checksum is wrong');
  }
}
