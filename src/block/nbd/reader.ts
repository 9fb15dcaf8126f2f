/** Exact reads from a byte stream. */
import { IoError } from '../../base/index.ts';
import type { ByteReader, ByteStream } from '../../contract/index.ts';
import { joinBytes } from '../layout.ts';

/** The peer is gone, or broke the protocol: the connection is of no use any more. */
export class ConnectionLost extends IoError {
  override name = 'ConnectionLost';
  constructor(message: string) {
    super('io', message);
  }
}

export function byteReader(stream: ByteStream): ByteReader {
  let chunk = new Uint8Array(0);
  let at = 0;

  /** Makes sure that a byte is there; false at the end of the stream. */
  const more = async (): Promise<boolean> => {
    while (at === chunk.length) {
      const next = await stream.read();
      if (next === undefined) return false;
      chunk = next as Uint8Array<ArrayBuffer>;
      at = 0;
    }
    return true;
  };
  const fillFrom = async (target: Uint8Array, from: number) => {
    for (let done = from; done < target.length; ) {
      if (!(await more())) throw new ConnectionLost('the peer closed the connection in the middle of a message');
      const n = Math.min(target.length - done, chunk.length - at);
      target.set(chunk.subarray(at, at + n), done);
      at += n;
      done += n;
    }
  };
  return {
    get buffered() {
      return chunk.length - at;
    },
    async take(count) {
      if (count === 0) return new Uint8Array(0);
      if (!(await more())) return undefined;
      if (chunk.length - at >= count) {
        at += count;
        return chunk.subarray(at - count, at);
      }
      const bytes = new Uint8Array(count);
      await fillFrom(bytes, 0);
      return bytes;
    },
    async peek(count) {
      if (!(await more())) return undefined;
      while (chunk.length - at < count) {
        const next = await stream.read();
        if (next === undefined) throw new ConnectionLost('the peer closed the connection in the middle of a message');
        chunk = joinBytes([chunk.subarray(at), next]);
        at = 0;
      }
      return chunk.subarray(at, at + count);
    },
    fill: (target) => fillFrom(target, 0),
    async skip(count) {
      for (let left = count; left > 0; ) {
        if (!(await more())) throw new ConnectionLost('the peer closed the connection in the middle of a message');
        const n = Math.min(left, chunk.length - at);
        at += n;
        left -= n;
      }
    },
  };
}
