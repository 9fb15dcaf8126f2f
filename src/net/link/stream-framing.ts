/** Frames in a byte stream as QEMU's `socket` and `stream` send them: four bytes of length, then the frame. */
import { concat, copyOf, get32, put32 } from '../wire/bytes.ts';

const LENGTH_BYTES = 4;
/** QEMU's largest frame. */
export const STREAM_FRAME_MAX_BYTES = 4096 + 65_536;

export function framed(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(LENGTH_BYTES + frame.length);
  put32(bytes, 0, frame.length);
  bytes.set(frame, LENGTH_BYTES);
  return bytes;
}

/** Takes a stream apart into frames; keeps no more than one that is not whole. */
export class StreamFrameReader {
  #rest: Uint8Array = new Uint8Array(0);
  readonly #onFrame: (frame: Uint8Array) => void;

  constructor(onFrame: (frame: Uint8Array) => void) {
    this.#onFrame = onFrame;
  }

  /** False when the peer does not speak this: the stream is of no use any more. */
  push(bytes: Uint8Array): boolean {
    let rest = this.#rest.length === 0 ? bytes : concat([this.#rest, bytes]);
    while (rest.length >= LENGTH_BYTES) {
      const length = get32(rest, 0);
      if (length === 0 || length > STREAM_FRAME_MAX_BYTES) return false;
      if (rest.length < LENGTH_BYTES + length) break;
      this.#onFrame(rest.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      rest = rest.subarray(LENGTH_BYTES + length);
    }
    this.#rest = copyOf(rest);
    return true;
  }
}
