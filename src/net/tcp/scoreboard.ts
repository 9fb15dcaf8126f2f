/** What the peer has beyond the first gap, from its selective acknowledgements (RFC 2018; RFC 6675, 3). */
import { type SackBlock, seqDistance } from '../wire/tcp.ts';

/** More pieces than this are not remembered: they are sent again, and that is all. */
const RANGES_MAX = 64;

export class Scoreboard {
  /** In order, apart from each other. */
  #ranges: SackBlock[] = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  clear(): void {
    this.#ranges = [];
  }

  /** Forgets what lies below the oldest sequence number not acknowledged. */
  advance(una: number): void {
    this.#ranges = this.#ranges.filter(({ end }) => seqDistance(end, una) > 0);
  }

  /** Adds what lies between `una` and `max`; anything else is not true. */
  add({ start, end }: SackBlock, una: number, max: number): void {
    if (seqDistance(start, una) <= 0 || seqDistance(end, start) <= 0 || seqDistance(end, max) > 0) return;
    const touches = (range: SackBlock) => seqDistance(range.end, start) >= 0 && seqDistance(end, range.start) >= 0;
    const merged = this.#ranges.filter(touches).reduce<SackBlock>(
      (sum, range) => ({
        start: seqDistance(range.start, sum.start) < 0 ? range.start : sum.start,
        end: seqDistance(range.end, sum.end) > 0 ? range.end : sum.end,
      }),
      { start, end },
    );
    const apart = this.#ranges.filter((range) => !touches(range));
    if (apart.length >= RANGES_MAX) return;
    this.#ranges = [...apart, merged].sort((a, b) => seqDistance(a.start, b.start));
  }

  /** The first gap at or after `from` with something received behind it. */
  nextGap(from: number): { readonly start: number; readonly byteCount: number } | undefined {
    let start = from;
    for (const range of this.#ranges) {
      const byteCount = seqDistance(range.start, start);
      if (byteCount > 0) return { start, byteCount };
      if (seqDistance(range.end, start) > 0) start = range.end;
    }
    return undefined;
  }
}
