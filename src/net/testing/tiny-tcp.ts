/**
 * A TCP of its own for the guest's side in tests, as small as it can be right:
 * go-back-N with one fixed timeout, no congestion control, pieces that come too early are kept.
 */
import { type StackTimer, TCP_FLAG, type TcpSegment, type Timers } from '../index.ts';

const RESEND_NANOS = 300e6;

export interface TinyTcpOptions {
  readonly timers: Timers;
  readonly localPort: number;
  readonly remotePort: number;
  readonly initialSequence: number;
  readonly mss?: number;
  /** Shift of the window field; undefined does not offer scaling. */
  readonly windowScale?: number;
  readonly windowBytes?: number;
  send(segment: TcpSegment): void;
}

export class TinyTcp {
  state: 'closed' | 'opening' | 'open' | 'reset' = 'closed';
  readonly received: Uint8Array[] = [];
  receivedBytes = 0;
  /** The other side sent FIN and all before it arrived. */
  isRemoteEnded = false;
  /** Our FIN is acknowledged. */
  isLocalEnded = false;
  /** False: offers no window, as a program that does not read. */
  isReading = true;
  /** How often something was sent again. */
  resends = 0;
  remoteWindow = 0;
  remoteMss = 536;
  readonly #options: TinyTcpOptions;
  readonly #mss: number;
  #remoteScale = 0;
  #una: number;
  #next: number;
  #expected = 0;
  #output: Uint8Array = new Uint8Array(0);
  #isEnding = false;
  readonly #early = new Map<number, Uint8Array>();
  readonly #timer: StackTimer;

  constructor(options: TinyTcpOptions) {
    this.#options = options;
    this.#mss = options.mss ?? 1460;
    this.#una = options.initialSequence;
    this.#next = options.initialSequence;
    this.#timer = options.timers.create(() => this.#timeout());
  }

  connect(): void {
    this.state = 'opening';
    this.#sendSyn(TCP_FLAG.syn);
  }

  write(bytes: Uint8Array): void {
    this.#output = Buffer.concat([this.#output, bytes]);
    this.#pump();
  }

  end(): void {
    this.#isEnding = true;
    this.#pump();
  }

  /** Written and not acknowledged. */
  get outputBytes(): number {
    return this.#output.length;
  }

  get content(): Buffer {
    return Buffer.concat(this.received);
  }

  receive(segment: TcpSegment): void {
    const { flags, sequence, acknowledgement, options } = segment;
    if (this.state === 'reset') return;
    if ((flags & TCP_FLAG.rst) !== 0) {
      this.state = 'reset';
      this.#timer.stop();
      return;
    }
    if ((flags & TCP_FLAG.syn) !== 0) {
      if (this.state === 'open') {
        this.#send(TCP_FLAG.ack, this.#next); // our acknowledgement was lost
        return;
      }
      this.remoteMss = options.mss ?? 536;
      const isScaling = this.#options.windowScale !== undefined && options.windowScale !== undefined;
      this.#remoteScale = isScaling ? options.windowScale! : 0;
      this.#expected = (sequence + 1) >>> 0;
      this.remoteWindow = segment.window;
      if ((flags & TCP_FLAG.ack) === 0) {
        this.state = 'opening';
        this.#sendSyn(TCP_FLAG.syn | TCP_FLAG.ack);
        return;
      }
      this.#open();
      this.#send(TCP_FLAG.ack, this.#next);
      this.#pump();
      return;
    }
    if (this.state === 'opening' && acknowledgement === (this.#una + 1) >>> 0) this.#open();
    if (this.state !== 'open') return;
    this.remoteWindow = segment.window << this.#remoteScale;
    this.#takeAck(acknowledgement);
    this.#takeData(segment);
    this.#pump();
  }

  #open(): void {
    this.state = 'open';
    this.#una = (this.#una + 1) >>> 0;
    this.#next = this.#una;
    this.#timer.stop();
  }

  #takeAck(acknowledgement: number): void {
    const count = (acknowledgement - this.#una) | 0;
    if (count <= 0) return;
    if (count > this.#output.length) this.isLocalEnded = true;
    this.#output = this.#output.subarray(Math.min(count, this.#output.length));
    this.#una = acknowledgement;
    if (((this.#next - this.#una) | 0) < 0) this.#next = this.#una;
    this.#timer.stop();
  }

  #takeData({ sequence, payload, flags }: TcpSegment): void {
    const hasFin = (flags & TCP_FLAG.fin) !== 0;
    if (payload.length === 0 && !hasFin) return;
    if (!this.isReading) {
      this.#send(TCP_FLAG.ack, this.#next);
      return;
    }
    if (payload.length > 0) this.#early.set(sequence, payload.slice());
    for (let found = true; found; ) {
      found = false;
      for (const [start, bytes] of this.#early) {
        const skipped = (this.#expected - start) | 0;
        if (skipped < 0) continue;
        this.#early.delete(start);
        if (skipped >= bytes.length) continue;
        this.received.push(bytes.subarray(skipped));
        this.receivedBytes += bytes.length - skipped;
        this.#expected = (start + bytes.length) >>> 0;
        found = true;
      }
    }
    if (hasFin && (sequence + payload.length) >>> 0 === this.#expected && !this.isRemoteEnded) {
      this.isRemoteEnded = true;
      this.#expected = (this.#expected + 1) >>> 0;
    }
    this.#send(TCP_FLAG.ack, this.#next);
  }

  #pump(): void {
    if (this.state !== 'open') return;
    for (;;) {
      const inFlight = (this.#next - this.#una) | 0;
      const unsent = this.#output.length - inFlight;
      const count = Math.min(unsent, this.remoteWindow - inFlight, this.#mss, this.remoteMss);
      const hasFin = this.#isEnding && !this.isLocalEnded && unsent >= 0 && Math.max(0, count) === unsent;
      if (count <= 0 && !hasFin) break;
      const payload = this.#output.subarray(inFlight, inFlight + Math.max(0, count));
      this.#send(TCP_FLAG.ack | (hasFin ? TCP_FLAG.fin : 0), this.#next, payload);
      this.#next = (this.#next + payload.length + (hasFin ? 1 : 0)) >>> 0;
    }
    const isBusy = this.#output.length > 0 || this.#next !== this.#una;
    if (isBusy && !this.#timer.isRunning) this.#timer.start(RESEND_NANOS);
  }

  #timeout(): void {
    this.resends++;
    if (this.state === 'opening') {
      this.#sendSyn(this.#expected === 0 ? TCP_FLAG.syn : TCP_FLAG.syn | TCP_FLAG.ack);
      return;
    }
    this.#next = this.#una;
    const hasNoWindow = this.remoteWindow === 0 && this.#output.length > 0;
    if (hasNoWindow) this.#send(TCP_FLAG.ack, this.#una, this.#output.subarray(0, 1));
    this.#pump();
    if (!this.#timer.isRunning) this.#timer.start(RESEND_NANOS);
  }

  #sendSyn(flags: number): void {
    const { windowScale } = this.#options;
    this.#send(flags, this.#una, undefined, { mss: this.#mss, windowScale });
    this.#timer.start(RESEND_NANOS);
  }

  #send(flags: number, sequence: number, payload: Uint8Array = new Uint8Array(0), options = {}): void {
    const { localPort, remotePort, windowBytes = 65_535, windowScale = 0 } = this.#options;
    const isScaled = (flags & TCP_FLAG.syn) === 0;
    const window = this.isReading ? Math.min(0xffff, isScaled ? windowBytes >> windowScale : windowBytes) : 0;
    const acknowledgement = (flags & TCP_FLAG.ack) !== 0 ? this.#expected : 0;
    this.#options.send({
      sourcePort: localPort,
      destinationPort: remotePort,
      sequence,
      acknowledgement,
      flags,
      window,
      options,
      payload,
    });
  }
}
