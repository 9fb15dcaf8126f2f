/** CRC-32C (Castagnoli; RFC 3720, appendix B.4), half a byte at a time. */

/** What each value of the lowest four bits adds (polynomial 0x82f63b78, reflected). */
const NIBBLES = Uint32Array.of(
  0x00000000,
  0x105ec76f,
  0x20bd8ede,
  0x30e349b1,
  0x417b1dbc,
  0x5125dad3,
  0x61c69362,
  0x7198540d,
  0x82f63b78,
  0x92a8fc17,
  0xa24bb5a6,
  0xb21572c9,
  0xc38d26c4,
  0xd3d3e1ab,
  0xe330a81a,
  0xf36e6f75,
);

/** The sum of `bytes`, or of what follows what gave `previous`. */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous;
  for (let i = 0; i < bytes.length; i += 1) {
    crc ^= bytes[i];
    crc = (crc >>> 4) ^ NIBBLES[crc & 15];
    crc = (crc >>> 4) ^ NIBBLES[crc & 15];
  }
  return ~crc >>> 0;
}
