/** Repeatable randomness for tests (xorshift32). */
export interface Random {
  /** An integer from 0 to `below` - 1. */
  next(below: number): number;
  bytes(length: number): Uint8Array<ArrayBuffer>;
}

export function randomFrom(seed: number): Random {
  let state = (seed * 0x9e3779b1) >>> 0 || 1;
  const step = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
  return {
    next: (below) => step() % below,
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i += 1) bytes[i] = step();
      return bytes;
    },
  };
}
