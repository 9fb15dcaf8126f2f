/** Encodes a server's replies in whichever form was agreed on; each goes out whole. */
import type { ByteStream } from '../../contract/index.ts';
import { joinBytes, u64be, viewOf } from '../layout.ts';
import { encodeUtf8 } from '../text.ts';
import type { ReplyMode } from './negotiation.ts';
import type { StatusExtent } from './status.ts';
import {
  CHUNK,
  CHUNK_FLAG,
  errorChunk,
  extendedReply,
  holeChunk,
  MAGIC,
  number32,
  type Request,
  simpleReply,
  statusExtent,
  structuredReply,
  wideStatusExtent,
} from './wire.ts';

/** A part of the answer to a read: bytes, or that many zeros. */
export type ReadPart = { readonly offset: number } & ({ readonly bytes: Uint8Array } | { readonly holeBytes: number });

export interface ReplyWriter {
  /** Success without content. */
  done(request: Request): Promise<void>;
  fail(request: Request, error: number, message: string): Promise<void>;
  /** Parts of a structured read: all of it, in any order. In simple mode, one part with all bytes. */
  read(request: Request, parts: readonly ReadPart[]): Promise<void>;
  status(request: Request, contexts: readonly { id: number; extents: readonly StatusExtent[] }[]): Promise<void>;
}

const MESSAGE_BYTES_MAX = 1024;

export function replyWriter(stream: ByteStream, mode: ReplyMode): ReplyWriter {
  let last: Promise<void> = Promise.resolve();
  const send = (parts: readonly Uint8Array[]): Promise<void> => {
    const sent = last.then(() => stream.write(parts));
    last = sent.catch(() => {});
    return sent;
  };
  const chunk = (
    { cookie, offset }: Request,
    type: number,
    isLast: boolean,
    payload: readonly Uint8Array[],
  ): readonly Uint8Array[] => {
    const length = payload.reduce((sum, part) => sum + part.length, 0);
    const flags = isLast ? CHUNK_FLAG.done : 0;
    const header =
      mode === 'extended'
        ? extendedReply.write({ magic: MAGIC.extendedReply, flags, type, cookie, offset, length })
        : structuredReply.write({ magic: MAGIC.structuredReply, flags, type, cookie, length });
    return [header, ...payload];
  };
  const simple = ({ cookie }: Request, error: number) => simpleReply.write({ magic: MAGIC.simpleReply, error, cookie });
  return {
    done: (request) => send(mode === 'extended' ? chunk(request, CHUNK.none, true, []) : [simple(request, 0)]),
    fail(request, error, message) {
      if (mode === 'simple') return send([simple(request, error)]);
      const text = encodeUtf8(message).slice(0, MESSAGE_BYTES_MAX);
      return send(chunk(request, CHUNK.error, true, [errorChunk.write({ error, messageBytes: text.length }), text]));
    },
    read(request, parts) {
      if (mode === 'simple') {
        return send([
          simple(request, 0),
          ...parts.map((part) => ('bytes' in part ? part.bytes : new Uint8Array(part.holeBytes))),
        ]);
      }
      return send(
        parts.flatMap((part, i) => {
          const isLast = i === parts.length - 1;
          if ('bytes' in part) return chunk(request, CHUNK.offsetData, isLast, [offsetBytes(part.offset), part.bytes]);
          const hole = holeChunk.write({ offset: part.offset, length: part.holeBytes });
          return chunk(request, CHUNK.offsetHole, isLast, [hole]);
        }),
      );
    },
    status: (request, contexts) =>
      send(
        contexts.flatMap(({ id, extents }, i) => {
          const isLast = i === contexts.length - 1;
          const isWide = mode === 'extended';
          const rows = extents.map((extent) => (isWide ? wideStatusExtent : statusExtent).write(extent));
          const head = isWide ? [number32(id), number32(rows.length)] : [number32(id)];
          const type = isWide ? CHUNK.blockStatusExtended : CHUNK.blockStatus;
          return chunk(request, type, isLast, [joinBytes([...head, ...rows])]);
        }),
      ),
  };
}

function offsetBytes(offset: number): Uint8Array {
  const bytes = new Uint8Array(8);
  u64be.put(viewOf(bytes), 0, offset);
  return bytes;
}
