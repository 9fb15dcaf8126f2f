/**
 * The sending half of a TCP connection: what is in flight, the peer's window,
 * retransmission (RFC 6298), congestion control (RFC 5681) and recovery (RFC 6582, 3042, 5827).
 */
import { seqAdd, seqDistance } from '../wire/tcp.ts';
import { ByteRing } from './byte-ring.ts';
import { RoundTrip } from './round-trip.ts';

/** RFC 6928. */
const INITIAL_WINDOW_SEGMENTS = 10;
const DUPLICATE_ACKS = 3;
const CONGESTION_WINDOW_MAX_BYTES = 4 * 1024 * 1024;

/** The way out; see `TcpNetwork`. */
export interface SenderPort {
  nowNanos(): number;
  canSend(): boolean;
  payloadMax(mss: number): number;
  /** Sends `count` bytes of the queue from `offset`, at `sequence`. */
  emit(sequence: number, offset: number, count: number, hasFin: boolean): void;
}

export class TcpSender {
  readonly queue: ByteRing = new ByteRing();
  readonly roundTrip: RoundTrip = new RoundTrip();
  /** The oldest sequence number not acknowledged. Offset 0 of the queue once the SYN is acknowledged. */
  una: number;
  /** The next to send; goes back to `una` when all is sent again. */
  next: number;
  /** One after the highest ever sent. */
  max: number;
  /** What the peer takes beyond `una`, in bytes. */
  window = 0;
  mss: number;
  /** `end` was called: FIN follows the last byte. */
  isEnding = false;
  readonly #port: SenderPort;
  #windowSequence = 0;
  #windowAcknowledgement = 0;
  #windowMax = 0;
  #congestionWindow: number;
  #slowStartThreshold = CONGESTION_WINDOW_MAX_BYTES;
  #duplicateAcks = 0;
  /** Recovery lasts until this is acknowledged. */
  #recover: number;
  #isRecovering = false;
  #timed: { readonly sequence: number; readonly sinceNanos: number } | undefined;

  constructor(port: SenderPort, initialSequence: number, mss: number) {
    this.#port = port;
    this.una = initialSequence;
    this.next = initialSequence;
    this.max = initialSequence;
    this.mss = mss;
    this.#recover = initialSequence;
    this.#congestionWindow = INITIAL_WINDOW_SEGMENTS * mss;
  }

  /** The SYN took one sequence number and is now acknowledged. */
  begin(mss: number): void {
    this.mss = mss;
    this.una = seqAdd(this.una, 1);
    this.next = this.una;
    this.max = this.una;
    this.#recover = this.una;
    this.#congestionWindow = INITIAL_WINDOW_SEGMENTS * mss;
  }

  get inFlight(): number {
    return seqDistance(this.next, this.una);
  }

  /** Something waits to be sent or acknowledged. */
  get isBusy(): boolean {
    return this.queue.length > 0 || this.isEnding;
  }

  /** The window field of a segment that is acceptable (RFC 9293, 3.10.7.4). True when it changed. */
  updateWindow(sequence: number, acknowledgement: number, window: number): boolean {
    const newer = seqDistance(sequence, this.#windowSequence);
    if (newer < 0 || (newer === 0 && seqDistance(acknowledgement, this.#windowAcknowledgement) < 0)) return false;
    const isChanged = window !== this.window;
    this.setWindow(sequence, acknowledgement, window);
    return isChanged;
  }

  setWindow(sequence: number, acknowledgement: number, window: number): void {
    this.#windowSequence = sequence;
    this.#windowAcknowledgement = acknowledgement;
    this.window = window;
    this.#windowMax = Math.max(this.#windowMax, window);
  }

  /**
   * Takes an acknowledgement that is ahead of `una` and not of `max`.
   * @returns whether the FIN is acknowledged with it
   */
  acknowledge(acknowledgement: number): boolean {
    const count = seqDistance(acknowledgement, this.una);
    const dataCount = Math.min(count, this.queue.length);
    this.queue.drop(dataCount);
    this.una = acknowledgement;
    if (seqDistance(this.next, this.una) < 0) this.next = this.una;
    this.#measure(acknowledgement);
    this.roundTrip.forgetBackoff();
    this.#duplicateAcks = 0;
    if (!this.#isRecovering) this.#grow(count);
    else if (seqDistance(acknowledgement, this.#recover) >= 0) {
      this.#isRecovering = false;
      this.#congestionWindow = this.#slowStartThreshold;
    } else {
      // A partial acknowledgement: the next hole begins here.
      this.#congestionWindow = Math.max(this.mss, this.#congestionWindow - count + this.mss);
      this.#resendFirst();
    }
    return count > dataCount;
  }

  /** An acknowledgement that says only that something else arrived. */
  duplicateAcknowledge(): void {
    if (this.inFlight <= 0) return;
    this.#duplicateAcks++;
    if (this.#isRecovering) this.#congestionWindow += this.mss;
    else if (this.#duplicateAcks === this.#duplicateAcksNeeded() && seqDistance(this.una, this.#recover) >= 0) {
      this.#isRecovering = true;
      this.#recover = this.max;
      this.#slowStartThreshold = Math.max(this.inFlight >> 1, 2 * this.mss);
      this.#congestionWindow = this.#slowStartThreshold + DUPLICATE_ACKS * this.mss;
      this.#resendFirst();
    }
  }

  /** With little in flight and nothing more to send, three will never come (RFC 5827, 3.2). */
  #duplicateAcksNeeded(): number {
    const isAllSent = this.queue.length <= this.inFlight;
    const segments = Math.ceil(this.inFlight / this.mss);
    return isAllSent && segments < DUPLICATE_ACKS + 1 ? Math.max(1, segments - 1) : DUPLICATE_ACKS;
  }

  /** The first duplicates let something new go out, which brings the next ones (RFC 3042). */
  get #limitedTransmitBytes(): number {
    return this.#isRecovering ? 0 : Math.min(this.#duplicateAcks, DUPLICATE_ACKS - 1) * this.mss;
  }

  /** Nothing was acknowledged in time: all in flight counts as lost; with a closed window, ask for it. */
  timeout(): void {
    this.roundTrip.backOff();
    this.#timed = undefined;
    this.#isRecovering = false;
    this.#duplicateAcks = 0;
    this.#recover = this.max;
    if (this.inFlight > 0) {
      this.#slowStartThreshold = Math.max(this.inFlight >> 1, 2 * this.mss);
      this.#congestionWindow = this.mss;
      this.next = this.una;
    }
    this.pump();
    if (this.inFlight === 0 && this.queue.length > 0 && this.#port.canSend()) this.#probe();
  }

  /** Sends what the windows allow. False when the network had no room for it. */
  pump(): boolean {
    for (;;) {
      const inFlight = this.inFlight;
      const unsent = this.queue.length - inFlight; // -1 when the FIN is in flight too
      const congestionWindow = this.#congestionWindow + this.#limitedTransmitBytes;
      const usable = Math.min(this.window, congestionWindow) - inFlight;
      const count = this.#segmentBytes(unsent, usable, inFlight);
      const hasFin = this.isEnding && unsent >= 0 && count === unsent;
      if (count <= 0 && !hasFin) return true;
      if (!this.#port.canSend()) return false;
      this.#send(inFlight, count, hasFin);
    }
  }

  /** Avoids silly small segments (RFC 9293, 3.8.6.2.1). There is no Nagle's algorithm: the host's side decided to send. */
  #segmentBytes(unsent: number, usable: number, inFlight: number): number {
    if (unsent <= 0) return 0;
    const count = Math.min(unsent, usable, this.#port.payloadMax(this.mss));
    if (count === unsent || count <= 0) return Math.max(0, count);
    if (count >= this.mss) return count - (count % this.mss);
    return inFlight === 0 && count >= this.#windowMax >> 1 ? count : 0;
  }

  #send(offset: number, count: number, hasFin: boolean): void {
    const sequence = this.next;
    this.next = seqAdd(sequence, count + (hasFin ? 1 : 0));
    if (seqDistance(this.next, this.max) > 0) {
      if (sequence === this.max) this.#timed ??= { sequence: this.next, sinceNanos: this.#port.nowNanos() };
      this.max = this.next;
    }
    this.#port.emit(sequence, offset, count, hasFin);
  }

  #resendFirst(): void {
    this.#timed = undefined; // an answer could be to either (RFC 6298, 3)
    const count = Math.min(this.mss, this.queue.length, this.inFlight);
    const hasFin = this.isEnding && count === this.queue.length && this.inFlight > count;
    if (count > 0 || hasFin) this.#port.emit(this.una, 0, count, hasFin);
  }

  /** One byte beyond the window (RFC 9293, 3.8.6.1). */
  #probe(): void {
    const after = seqAdd(this.una, 1);
    if (seqDistance(after, this.max) > 0) this.max = after;
    this.#port.emit(this.una, 0, 1, false);
  }

  #measure(acknowledgement: number): void {
    if (this.#timed === undefined || seqDistance(acknowledgement, this.#timed.sequence) < 0) return;
    this.roundTrip.sample(this.#port.nowNanos() - this.#timed.sinceNanos);
    this.#timed = undefined;
  }

  #grow(count: number): void {
    const isSlowStart = this.#congestionWindow < this.#slowStartThreshold;
    const step = isSlowStart ? count : Math.ceil((this.mss * count) / this.#congestionWindow);
    this.#congestionWindow = Math.min(CONGESTION_WINDOW_MAX_BYTES, this.#congestionWindow + step);
  }
}
