/** Random numbers that a seed repeats (xorshift32). */
export interface Random {
  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number;
  /** 0 to 1. */
  ratio(): number;
  bytes(count: number): Uint8Array;
}

export function randomFrom(seed: number): Random {
  let state = seed * 2_654_435_761 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  for (let i = 0; i < 4; i++) next();
  return {
    below: (limit) => next() % limit,
    ratio: () => next() / 2 ** 32,
    bytes: (count) => Uint8Array.from({ length: count }, () => next() & 0xff),
  };
}

/** The seed of this run: 1, or VIREO_SEED; tests print it when they fail. */
export function runSeed(): number {
  return Number(process.env.VIREO_SEED ?? 1);
}
