/** An NBD server for one connection: negotiation, then requests on a block node. */
import { InternalError } from '../../base/index.ts';
import type { BlockNode, ByteReader, ByteStream } from '../../contract/index.ts';
import { type Agreement, contextNames, type ExportFacts, negotiation } from './negotiation.ts';
import { byteReader, ConnectionLost } from './reader.ts';
import { replyWriter } from './replies.ts';
import { handleRequest, type Transmission } from './requests.ts';
import { allocationContext, type NbdContext } from './status.ts';
import {
  COMMAND,
  COMMAND_FLAG,
  compactRequest,
  EXPORT_FLAG,
  extendedRequest,
  MAGIC,
  NBD_ERROR,
  PAYLOAD_BYTES_MAX,
  type Request,
} from './wire.ts';

/** A disk that a server offers. */
export interface NbdExport {
  readonly name: string;
  readonly description?: string;
  readonly node: BlockNode;
  readonly readOnly?: boolean;
  /** Several connections may be used as one: a flush on any of them covers the writes of all. */
  readonly multiConnection?: boolean;
  /** Contexts beside `base:allocation`. */
  readonly contexts?: readonly NbdContext[];
}

export interface NbdServerOptions {
  readonly exports: readonly NbdExport[];
  /** Whether a client may or must use TLS; the stream must have `startTls` then. */
  readonly tls?: 'none' | 'offered' | 'required';
  /** The client has chosen one of the exports. */
  readonly onChosen?: (index: number) => void;
}

/** Requests of one connection that are worked on at once, and the memory that they may take together. */
const REQUESTS_MAX = 16;
const REQUEST_BYTES_MAX = 64 * 2 ** 20;

/** True when requests on the export change nothing. */
export function isReadOnlyExport({ readOnly = false, node }: NbdExport): boolean {
  return readOnly || node.readOnly;
}

function factsOf(one: NbdExport): ExportFacts {
  const { name, description, node, multiConnection = false, contexts = [] } = one;
  const isReadOnly = isReadOnlyExport(one);
  const flags =
    EXPORT_FLAG['has-flags'] |
    EXPORT_FLAG.flush |
    EXPORT_FLAG.fua |
    EXPORT_FLAG.cache |
    (isReadOnly ? EXPORT_FLAG.readonly : EXPORT_FLAG.trim | EXPORT_FLAG.zeroes | EXPORT_FLAG['fast-zero']) |
    (multiConnection ? EXPORT_FLAG.multi : 0);
  const { alignmentBytes, preferredBytes } = node.limits;
  return {
    name,
    ...(description === undefined ? {} : { description }),
    sizeBytes: node.sizeBytes - (node.sizeBytes % alignmentBytes),
    flags,
    minBytes: alignmentBytes,
    preferredBytes: Math.max(4096, Math.min(preferredBytes, PAYLOAD_BYTES_MAX)),
    contexts: contextNames(contexts.map((context) => context.name)),
  };
}

/**
 * Serves a client until it disconnects or breaks the protocol; the stream is closed then and nothing is under way.
 * @throws our own mistakes only
 */
export async function serveNbd(stream: ByteStream, options: NbdServerOptions): Promise<void> {
  let current = stream;
  try {
    const agreed = await negotiate(stream, options, (secured) => {
      current = secured;
    });
    if (agreed !== undefined) options.onChosen?.(agreed.agreement.exportIndex);
    if (agreed !== undefined) await transmit(agreed.stream, agreed.reader, options.exports, agreed.agreement);
    current.end();
  } catch (error) {
    current.destroy();
    if (error instanceof InternalError || error instanceof TypeError || error instanceof RangeError) throw error;
  }
}

interface Agreed {
  readonly stream: ByteStream;
  readonly reader: ByteReader;
  readonly agreement: Agreement;
}

async function negotiate(
  stream: ByteStream,
  options: NbdServerOptions,
  onSecured: (stream: ByteStream) => void,
): Promise<Agreed | undefined> {
  const exports = options.exports.map(factsOf);
  const { tls = 'none' } = options;
  let current = stream;
  let reader = byteReader(stream);
  let table = negotiation({ exports, tls, isSecure: false });
  await stream.write([table.greeting]);
  for (;;) {
    const bytes = await reader.take(table.needs);
    if (bytes === undefined) return undefined;
    const { send, next, agreement } = table.feed(bytes);
    if (send.length > 0) await current.write(send);
    if (next === 'close') return undefined;
    if (next === 'transmit') return { stream: current, reader, agreement: agreement! };
    if (next === 'start-tls') {
      // What came unencrypted before the handshake would otherwise pass for encrypted (CVE-2021-3716).
      if (reader.buffered > 0 || current.startTls === undefined) return undefined;
      current = await current.startTls();
      onSecured(current);
      reader = byteReader(current);
      table = negotiation({ exports, tls, isSecure: true });
    }
  }
}

/** Lets in only as many requests as there is room for. */
function admission() {
  let [requests, bytes] = [0, 0];
  let waiting: (() => void) | undefined;
  const fits = (more: number) => requests < REQUESTS_MAX && (requests === 0 || bytes + more <= REQUEST_BYTES_MAX);
  return {
    async enter(more: number): Promise<void> {
      while (!fits(more)) await new Promise<void>((resolve) => (waiting = resolve));
      requests += 1;
      bytes += more;
    },
    leave(less: number): void {
      requests -= 1;
      bytes -= less;
      waiting?.();
    },
  };
}

async function transmit(
  stream: ByteStream,
  reader: ByteReader,
  exports: readonly NbdExport[],
  { exportIndex, mode, contexts }: Agreement,
): Promise<void> {
  const chosen = exports[exportIndex];
  const offered = [allocationContext(chosen.node), ...(chosen.contexts ?? [])];
  const replies = replyWriter(stream, mode);
  const transmission: Transmission = {
    node: chosen.node,
    sizeBytes: factsOf(chosen).sizeBytes,
    isReadOnly: isReadOnlyExport(chosen),
    contexts: contexts.map((name) => offered.find((context) => context.name === name)!),
    mode,
    replies,
  };
  const room = admission();
  const underWay = new Set<Promise<void>>();
  let failure: unknown;
  try {
    for (;;) {
      const request = await readRequest(reader, mode === 'extended');
      if (request === undefined || request.type === COMMAND.disconnect || failure !== undefined) break;
      const payloadBytes = payloadOf(request, mode === 'extended');
      if (payloadBytes > PAYLOAD_BYTES_MAX) {
        await reader.skip(payloadBytes);
        await replies.fail(request, NBD_ERROR.invalid, `a write has at most ${PAYLOAD_BYTES_MAX} bytes`);
        continue;
      }
      const held = Math.max(
        payloadBytes,
        request.type === COMMAND.read ? Math.min(request.length, PAYLOAD_BYTES_MAX) : 0,
      );
      await room.enter(held);
      const payload = new Uint8Array(payloadBytes);
      await reader.fill(payload);
      const work = handleRequest(transmission, request, payload)
        .catch((error: unknown) => {
          failure ??= error;
          stream.destroy();
        })
        .finally(() => {
          room.leave(held);
          underWay.delete(work);
        });
      underWay.add(work);
    }
  } finally {
    await Promise.all(underWay);
  }
  if (failure !== undefined) throw failure;
}

/** Bytes that follow the request's header. */
function payloadOf({ type, flags, length }: Request, isExtended: boolean): number {
  const hasPayload = isExtended ? (flags & COMMAND_FLAG.payload) !== 0 : type === COMMAND.write;
  return hasPayload ? length : 0;
}

async function readRequest(reader: ByteReader, isExtended: boolean): Promise<Request | undefined> {
  const table = isExtended ? extendedRequest : compactRequest;
  const bytes = await reader.take(table.size);
  if (bytes === undefined) return undefined;
  const request = table.read(bytes);
  if (request.magic === (isExtended ? MAGIC.extendedRequest : MAGIC.request)) return request;
  throw new ConnectionLost('the client sent something that is no request');
}
