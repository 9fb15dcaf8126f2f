/** A serial port as its user sees it: a pair of streams, with backpressure both ways. */
import type { ToMachine } from './protocol.ts';
import { INPUT_LIMIT_BYTES } from './protocol.ts';

/** The far end of a guest's serial port. */
export interface SerialConsole {
  /**
   * What the guest sends. While nobody holds a reader, only the newest 64 KiB
   * are kept; a reader that is held and does not read stops the guest when its
   * output reaches 256 KiB. Ends when the machine does.
   */
  readonly readable: ReadableStream<Uint8Array>;
  /**
   * What the guest receives; a write settles when the guest has nearly taken
   * it. What is written after the machine's end is dropped.
   */
  readonly writable: WritableStream<Uint8Array>;
}

/** The streams and what feeds them. */
export interface SerialStreams extends SerialConsole {
  output(bytes: Uint8Array): void;
  inputTaken(count: number): void;
  end(): void;
}

const UNREAD_KEPT_BYTES = 64 * 1024;
/** A write settles when no more than this waits for the guest. */
const INPUT_LOW_BYTES = 1024;

export function serialStreams(port: number, post: (message: ToMachine) => void): SerialStreams {
  const output = outputSide((count) => post({ kind: 'serial-output-taken', port, count }));
  const input = inputSide((bytes) => post({ kind: 'serial-input', port, bytes }));
  return {
    readable: output.readable,
    writable: input.writable,
    output: output.add,
    inputTaken: input.taken,
    end() {
      output.end();
      input.end();
    },
  };
}

function outputSide(onTaken: (count: number) => void) {
  const waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let onData: (() => void) | undefined;
  let state: 'open' | 'cancelled' | 'ended' = 'open';

  const shift = (): Uint8Array | undefined => {
    const bytes = waiting.shift();
    if (bytes === undefined) return undefined;
    waitingBytes -= bytes.length;
    if (state !== 'ended') onTaken(bytes.length);
    return bytes;
  };
  const readable = new ReadableStream<Uint8Array>(
    {
      start(given) {
        controller = given;
      },
      async pull(given) {
        if (waiting.length === 0) await new Promise<void>((resolve) => (onData = resolve));
        const bytes = shift();
        if (bytes !== undefined) given.enqueue(bytes);
      },
      cancel() {
        state = 'cancelled';
        while (shift() !== undefined);
      },
    },
    { highWaterMark: 0 },
  );
  return {
    readable,
    add(bytes: Uint8Array) {
      if (state !== 'open') return onTaken(bytes.length);
      waiting.push(bytes);
      waitingBytes += bytes.length;
      while (!readable.locked && waitingBytes > UNREAD_KEPT_BYTES) shift();
      onData?.();
    },
    end() {
      if (state !== 'open') return;
      state = 'ended';
      for (let bytes = shift(); bytes !== undefined; bytes = shift()) controller?.enqueue(bytes);
      onData?.();
      controller?.close();
    },
  };
}

function inputSide(send: (bytes: Uint8Array) => void) {
  let waitingBytes = 0;
  let ended = false;
  let onTaken: (() => void) | undefined;
  const until = async (limitBytes: number) => {
    while (waitingBytes > limitBytes && !ended) await new Promise<void>((resolve) => (onTaken = resolve));
  };
  const writable = new WritableStream<Uint8Array>({
    async write(chunk) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('a serial port takes bytes: write a Uint8Array');
      for (let at = 0; at < chunk.length && !ended; at += INPUT_LIMIT_BYTES / 2) {
        const part = chunk.slice(at, at + INPUT_LIMIT_BYTES / 2);
        await until(INPUT_LIMIT_BYTES - part.length);
        if (ended) return;
        waitingBytes += part.length;
        send(part);
      }
      await until(INPUT_LOW_BYTES);
    },
  });
  return {
    writable,
    taken(count: number) {
      waitingBytes -= count;
      onTaken?.();
    },
    end() {
      ended = true;
      onTaken?.();
    },
  };
}
