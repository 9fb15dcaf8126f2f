/** Two connected byte streams in memory. */
import { IoError } from '../../../base/index.ts';
import type { ByteStream } from '../../../contract/index.ts';

export interface PairOptions {
  /** Every read gives at most this many bytes. */
  readonly chunkBytes?: number;
}

/** What one end writes the other reads; `destroy` breaks both. */
export function streamPair({ chunkBytes = Number.POSITIVE_INFINITY }: PairOptions = {}): [ByteStream, ByteStream] {
  let isBroken = false;
  const pipes = [newPipe(), newPipe()];
  const breakBoth = () => {
    isBroken = true;
    for (const pipe of pipes) pipe.wake();
  };
  const end = (incoming: Pipe, outgoing: Pipe): ByteStream => ({
    async read() {
      for (;;) {
        if (isBroken) throw new IoError('io', 'the connection broke');
        const chunk = incoming.queue.shift();
        if (chunk !== undefined) {
          if (chunk.length <= chunkBytes) return chunk;
          incoming.queue.unshift(chunk.subarray(chunkBytes));
          return chunk.slice(0, chunkBytes);
        }
        if (incoming.isEnded) return undefined;
        await incoming.wait();
      }
    },
    async write(parts) {
      if (isBroken) throw new IoError('io', 'the connection broke');
      for (const part of parts) if (part.length > 0) outgoing.queue.push(part.slice());
      outgoing.wake();
    },
    end() {
      outgoing.isEnded = true;
      outgoing.wake();
    },
    destroy: breakBoth,
  });
  return [end(pipes[0], pipes[1]), end(pipes[1], pipes[0])];
}

interface Pipe {
  readonly queue: Uint8Array[];
  isEnded: boolean;
  wake: () => void;
  wait(): Promise<void>;
}

function newPipe(): Pipe {
  const pipe: Pipe = {
    queue: [],
    isEnded: false,
    wake: () => {},
    wait: () =>
      new Promise((resolve) => {
        pipe.wake = resolve;
      }),
  };
  return pipe;
}
