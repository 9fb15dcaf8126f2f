/** Locks on byte ranges: those that overlap wait for each other, in the order in which they came. */
export interface RangeLock {
  hold<T>(offset: number, length: number, body: () => Promise<T>): Promise<T>;
}

interface Holder {
  readonly from: number;
  readonly to: number;
  readonly over: Promise<void>;
}

export function rangeLock(): RangeLock {
  const holders = new Set<Holder>();
  return {
    async hold(offset, length, body) {
      const { promise: over, resolve: end } = Promise.withResolvers<void>();
      const holder: Holder = { from: offset, to: offset + length, over };
      const before = [...holders].filter(({ from, to }) => from < holder.to && to > holder.from);
      holders.add(holder);
      try {
        await Promise.all(before.map((earlier) => earlier.over));
        return await body();
      } finally {
        holders.delete(holder);
        end();
      }
    },
  };
}
