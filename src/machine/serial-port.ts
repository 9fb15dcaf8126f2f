/** A serial port's far end in the machine's thread: bytes to and from messages, within limits. */
import type { CharPort, CharReceiver } from '../contract/index.ts';
import type { FromMachine } from './protocol.ts';
import { INPUT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES } from './protocol.ts';

const BATCH_BYTES = 4096;

export class SerialPort implements CharPort {
  readonly #port: number;
  readonly #post: (message: FromMachine) => void;
  #receiver: CharReceiver | undefined;
  readonly #input: Uint8Array[] = [];
  #inputBytes = 0;
  /** What is not posted yet. */
  readonly #batch = new Uint8Array(BATCH_BYTES);
  #batchBytes = 0;
  /** Posted and not taken. */
  #outputBytes = 0;

  constructor(port: number, post: (message: FromMachine) => void) {
    this.#port = port;
    this.#post = post;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + BATCH_BYTES - this.#batchBytes);
      this.#batch.set(part, this.#batchBytes);
      this.#batchBytes += part.length;
      at += part.length;
      if (this.#batchBytes === BATCH_BYTES) this.flush();
    }
  }

  /** Posts what was written; the run loop calls it after each slice. */
  flush(): void {
    if (this.#batchBytes === 0) return;
    const bytes = this.#batch.slice(0, this.#batchBytes);
    this.#outputBytes += bytes.length;
    this.#batchBytes = 0;
    this.#post({ kind: 'serial-output', port: this.#port, bytes });
  }

  connect(receiver: CharReceiver): void {
    this.#receiver = receiver;
  }

  /** True when so much output waits to be taken that the guest must not make more. */
  get outputFull(): boolean {
    return this.#outputBytes >= OUTPUT_LIMIT_BYTES;
  }

  outputTaken(count: number): void {
    this.#outputBytes = Math.max(0, this.#outputBytes - count);
  }

  /** Takes input from outside; a sender that ignores the limit loses what is above it. */
  offer(bytes: Uint8Array): void {
    const taken = bytes.subarray(0, INPUT_LIMIT_BYTES - this.#inputBytes);
    if (taken.length === 0) return;
    this.#input.push(taken);
    this.#inputBytes += taken.length;
  }

  /** Hands the device what it can take now; false when that was nothing. */
  pump(): boolean {
    if (this.#inputBytes === 0 || this.#receiver === undefined) return false;
    let count = 0;
    for (let room = this.#receiver.canReceive(); room > 0 && this.#input.length > 0; ) {
      const first = this.#input[0];
      const part = first.subarray(0, room);
      if (part.length < first.length) this.#input[0] = first.subarray(part.length);
      else this.#input.shift();
      this.#receiver.receive(part);
      count += part.length;
      room = Math.min(room - part.length, this.#receiver.canReceive());
    }
    if (count === 0) return false;
    this.#inputBytes -= count;
    this.#post({ kind: 'serial-input-taken', port: this.#port, count });
    return true;
  }
}
