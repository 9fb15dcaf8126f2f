/** Apple Data Compression: literal runs, and copies of what came shortly before. */

/** Fills `target` exactly. @throws Error when the stream is broken, or holds less or more */
export function unpackAdc(packed: Uint8Array, target: Uint8Array): void {
  let at = 0;
  let done = 0;
  while (at < packed.length && done < target.length) {
    const code = packed[at];
    if (code >= 0x80) {
      const length = (code & 0x7f) + 1;
      const literal = packed.subarray(at + 1, at + 1 + length);
      if (literal.length < length || done + length > target.length) throw new Error('a literal run has no place');
      target.set(literal, done);
      at += 1 + length;
      done += length;
      continue;
    }
    const isLong = code >= 0x40;
    const length = isLong ? (code & 0x3f) + 4 : ((code >> 2) & 0x0f) + 3;
    const distance = 1 + (isLong ? packed[at + 1] * 256 + packed[at + 2] : (code & 3) * 256 + packed[at + 1]);
    if (!(distance <= done) || done + length > target.length) throw new Error('a copy reaches outside the chunk');
    // Byte by byte: it may copy what it has just written.
    for (let i = 0; i < length; i += 1) target[done + i] = target[done + i - distance];
    at += isLong ? 3 : 2;
    done += length;
  }
  if (done !== target.length) throw new Error(`${done} bytes instead of ${target.length}`);
}
