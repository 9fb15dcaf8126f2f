/** The receiving half of a TCP connection: order, the window we offer, what came too early. */

import { copyOf } from '../wire/bytes.ts';
import { SACK_BLOCKS_MAX, type SackBlock, seqAdd, seqDistance } from '../wire/tcp.ts';

/** A peer that sends single bytes out of order cannot make us keep more pieces than this. */
const EARLY_MAX = 256;

export class TcpReceiver {
  /** The next sequence number we expect. */
  next: number;
  /** Shift of the windows we send; 0 until the peer agreed to scale. */
  scale = 0;
  /** Delivered, and not yet consumed by whoever uses the connection. */
  unconsumedBytes = 0;
  readonly #windowMaxBytes: number;
  readonly #memoryRoom: () => number;
  /** Right edge of the window last offered; never taken back. */
  #edge: number;
  /** By sequence, not overlapping, all beyond `next`. */
  readonly #early: { sequence: number; bytes: Uint8Array }[] = [];
  #earlyBytes = 0;
  /** Where the piece that came last begins. */
  #lastEarly = 0;
  /** Where the FIN stands, once one came. */
  #finSequence: number | undefined;

  /** @param next the sequence number after the peer's SYN */
  constructor(next: number, windowMaxBytes: number, memoryRoom: () => number) {
    this.next = next;
    this.#edge = next;
    this.#windowMaxBytes = windowMaxBytes;
    this.#memoryRoom = memoryRoom;
  }

  /** Held here and by the user. */
  get heldBytes(): number {
    return this.unconsumedBytes + this.#earlyBytes;
  }

  get hasEarly(): boolean {
    return this.#early.length > 0;
  }

  /** What came too early, adjoining pieces as one, the latest first (RFC 2018, 4). */
  sackBlocks(): SackBlock[] {
    const blocks: { start: number; end: number }[] = [];
    for (const { sequence, bytes } of this.#early) {
      const end = seqAdd(sequence, bytes.length);
      const last = blocks.at(-1);
      if (last?.end === sequence) last.end = end;
      else blocks.push({ start: sequence, end });
    }
    const isLatest = ({ start, end }: SackBlock) =>
      seqDistance(this.#lastEarly, start) >= 0 && seqDistance(this.#lastEarly, end) < 0;
    const latest = blocks.filter(isLatest);
    return [...latest, ...blocks.filter((block) => !isLatest(block))].slice(0, SACK_BLOCKS_MAX);
  }

  /** The window field of the next segment; what it says is offered from now on. */
  offerWindow(): number {
    const field = this.#roomBytes() >>> this.scale;
    // Scaling rounds down: the last bytes offered before stay acceptable, though this segment does not name them.
    this.#edge = seqAdd(this.next, Math.max(this.#offered, field << this.scale));
    return field;
  }

  /** Enough has become free that the peer should hear of it (RFC 9293, 3.8.6.2.2). */
  isWindowWorthTelling(mss: number): boolean {
    const gain = this.#roomBytes() - this.#offered;
    return gain >= Math.min(this.#windowMaxBytes >> 1, 2 * mss);
  }

  get #offered(): number {
    return seqDistance(this.#edge, this.next);
  }

  #roomBytes(): number {
    const own = Math.min(this.#windowMaxBytes - this.unconsumedBytes, this.#memoryRoom(), 0xffff << this.scale);
    return Math.max(this.#offered, own, 0);
  }

  /** RFC 9293, 3.4: whether any of a segment lies in the window. */
  isAcceptable(sequence: number, length: number): boolean {
    const offset = seqDistance(sequence, this.next);
    const window = this.#offered;
    if (length === 0) return window === 0 ? offset === 0 : offset >= 0 && offset < window;
    const lastOffset = offset + length - 1;
    return window > 0 && ((offset >= 0 && offset < window) || (lastOffset >= 0 && lastOffset < window));
  }

  /**
   * Takes a segment's data and FIN.
   * @returns what is now in order, copied, and whether the FIN is reached
   */
  take(sequence: number, payload: Uint8Array, hasFin: boolean): { chunks: Uint8Array[]; isEnded: boolean } {
    const skipped = Math.max(0, -seqDistance(sequence, this.next));
    const start = skipped > 0 ? this.next : sequence;
    const room = Math.max(0, seqDistance(this.#edge, start));
    const bytes = payload.subarray(Math.min(skipped, payload.length), Math.min(payload.length, skipped + room));
    const finSequence = seqAdd(sequence, payload.length);
    const isFinInWindow = skipped + bytes.length >= payload.length && seqDistance(finSequence, this.next) >= 0;
    if (hasFin && isFinInWindow) this.#finSequence ??= finSequence;
    const chunks: Uint8Array[] = [];
    if (start === this.next) {
      this.#deliver(bytes, chunks);
      this.#deliverEarly(chunks);
    } else if (bytes.length > 0) {
      this.#lastEarly = start;
      this.#keep(start, bytes);
    }
    const isEnded = this.#finSequence === this.next;
    if (isEnded) this.next = seqAdd(this.next, 1);
    return { chunks, isEnded };
  }

  #deliver(bytes: Uint8Array, chunks: Uint8Array[]): void {
    if (bytes.length === 0) return;
    chunks.push(copyOf(bytes));
    this.next = seqAdd(this.next, bytes.length);
    this.unconsumedBytes += bytes.length;
  }

  #deliverEarly(chunks: Uint8Array[]): void {
    while (this.#early.length > 0) {
      const { sequence, bytes } = this.#early[0];
      const skipped = -seqDistance(sequence, this.next);
      if (skipped < 0) return;
      this.#early.shift();
      this.#earlyBytes -= bytes.length;
      if (skipped < bytes.length) this.#deliver(bytes.subarray(skipped), chunks);
    }
  }

  /** What overlaps something already kept is cut; when full, it is dropped and the peer sends it again. */
  #keep(sequence: number, bytes: Uint8Array): void {
    let [from, rest] = [sequence, bytes];
    for (let i = 0; rest.length > 0; i++) {
      const kept = this.#early[i];
      const gap = kept === undefined ? rest.length : Math.min(rest.length, seqDistance(kept.sequence, from));
      if (gap > 0) {
        if (this.#early.length >= EARLY_MAX) return;
        this.#early.splice(i++, 0, { sequence: from, bytes: copyOf(rest.subarray(0, gap)) });
        this.#earlyBytes += gap;
      }
      if (kept === undefined) return;
      const skipped = Math.max(0, gap, seqDistance(seqAdd(kept.sequence, kept.bytes.length), from));
      if (skipped >= rest.length) return;
      from = seqAdd(from, skipped);
      rest = rest.subarray(skipped);
    }
  }
}
