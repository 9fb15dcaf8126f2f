/** Numbers and text as bytes, for the tables that firmware leaves in RAM. */

/** Little-endian bytes of a non-negative integer below 2^53. */
export function littleEndian(value: number, sizeBytes: number): number[] {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 2 ** (sizeBytes * 8)) {
    throw new RangeError(`${value} does not fit ${sizeBytes} bytes`);
  }
  return Array.from({ length: sizeBytes }, (_, index) => Math.floor(value / 2 ** (index * 8)) % 256);
}

export function u16(value: number): number[] {
  return littleEndian(value, 2);
}

export function u32(value: number): number[] {
  return littleEndian(value, 4);
}

export function u64(value: number): number[] {
  return littleEndian(value, 8);
}

/** Bytes of printable ASCII. */
export function ascii(text: string): number[] {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new RangeError('not ASCII');
  return Array.from(text, (character) => character.charCodeAt(0));
}

/** UTF-8 encoding; a lone surrogate becomes U+FFFD. */
export function utf8(text: string): number[] {
  const bytes: number[] = [];
  for (const character of text) {
    let code = character.codePointAt(0) as number;
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x1_0000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else {
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    }
  }
  return bytes;
}

/** A DataView over exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
