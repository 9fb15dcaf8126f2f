/** One client connection after the negotiation: requests go out, replies come back in any order. */
import { IoError } from '../../base/index.ts';
import { u64be, viewOf } from '../layout.ts';
import { decodeUtf8 } from '../text.ts';
import type { ExportDescription, NegotiatedClient } from './client-negotiation.ts';
import { ConnectionLost } from './reader.ts';
import type { StatusExtent } from './status.ts';
import {
  CHUNK,
  CHUNK_FLAG,
  COMMAND,
  COMMAND_FLAG,
  compactRequest,
  errorChunk,
  extendedReply,
  extendedRequest,
  holeChunk,
  isChunkError,
  MAGIC,
  NBD_ERROR,
  simpleReply,
  statusExtent,
  structuredReply,
  wideStatusExtent,
} from './wire.ts';

export interface NbdRequest {
  readonly type: number;
  readonly flags?: number;
  readonly offset: number;
  readonly length: number;
  /** What a write sends. */
  readonly payload?: Uint8Array;
  /** What a read fills; as long as `length`. */
  readonly target?: Uint8Array;
}

export interface NbdSession {
  readonly facts: ExportDescription;
  readonly hasStatus: boolean;
  /** Lengths of requests without payload may be beyond 32 bits. */
  readonly isExtended: boolean;
  readonly isLost: boolean;
  /** Rejects with ConnectionLost when the connection breaks, with another IoError when the server refuses. */
  send(request: NbdRequest): Promise<readonly StatusExtent[]>;
  /** Says goodbye; nothing may be under way. */
  end(): Promise<void>;
  destroy(): void;
}

interface Pending {
  readonly request: NbdRequest;
  readonly resolve: (extents: readonly StatusExtent[]) => void;
  readonly reject: (error: Error) => void;
  error: Error | undefined;
  /** Bytes of a structured read that came. */
  filled: number;
  extents: StatusExtent[];
}

const STATUS_BYTES_MAX = 16 * 2 ** 20;
const ERROR_BYTES_MAX = 8192;

/** Takes over a negotiated connection. */
export function nbdSession(client: NegotiatedClient, name: string): NbdSession {
  const { stream, reader, mode, facts, contextId } = client;
  const pending = new Map<bigint, Pending>();
  let cookie = 0n;
  let loss: ConnectionLost | undefined;

  const lose = (why: string) => {
    loss ??= new ConnectionLost(`${name}: ${why}`);
    stream.destroy();
    for (const { reject } of pending.values()) reject(loss);
    pending.clear();
  };
  const broken = (what: string): never => {
    throw new ConnectionLost(`the server broke the protocol: ${what}`);
  };
  const find = (id: bigint): Pending => pending.get(id) ?? broken('a reply to no request');
  const settle = (id: bigint, waiting: Pending) => {
    pending.delete(id);
    const { request } = waiting;
    if (waiting.error === undefined && request.target !== undefined && waiting.filled !== request.length) {
      broken('a read that is not complete');
    }
    if (waiting.error !== undefined) waiting.reject(waiting.error);
    else waiting.resolve(waiting.extents);
  };
  const must = async (count: number): Promise<Uint8Array> =>
    (await reader.take(count)) ?? broken('the connection was closed');

  const receiveSimple = async () => {
    const { error, cookie: id } = simpleReply.read(await must(simpleReply.size));
    const waiting = find(id);
    const { target, type } = waiting.request;
    if (mode !== 'simple' && error === 0 && (type === COMMAND.read || type === COMMAND.blockStatus)) {
      broken('a simple reply where a structured one is due');
    }
    if (error !== 0) waiting.error = failureOf(name, waiting.request, error, '');
    else if (target !== undefined) {
      await reader.fill(target);
      waiting.filled = target.length;
    }
    settle(id, waiting);
  };
  const receiveChunk = async () => {
    const table = mode === 'extended' ? extendedReply : structuredReply;
    const { flags, type, cookie: id, length } = table.read(await must(table.size));
    const waiting = find(id);
    await receiveContent(waiting, type, length);
    if ((flags & CHUNK_FLAG.done) !== 0) settle(id, waiting);
  };
  const receiveContent = async (waiting: Pending, type: number, length: number) => {
    const { request } = waiting;
    if (type === CHUNK.none) {
      if (length !== 0) broken('a chunk that should be empty is not');
    } else if (type === CHUNK.offsetData && request.target !== undefined) {
      if (length <= 8 || length > request.length + 8) broken(`a chunk of data of ${length} bytes`);
      const at = u64be.get(viewOf(await must(8)), 0) - request.offset;
      await reader.fill(part(waiting, at, length - 8));
    } else if (type === CHUNK.offsetHole && request.target !== undefined) {
      if (length !== holeChunk.size) broken('a malformed hole');
      const hole = holeChunk.read(await must(holeChunk.size));
      part(waiting, hole.offset - request.offset, hole.length).fill(0);
    } else if (type === CHUNK.blockStatus || type === CHUNK.blockStatusExtended) {
      await receiveStatus(waiting, type === CHUNK.blockStatusExtended, length);
    } else if (isChunkError(type)) {
      if (length < errorChunk.size || length > ERROR_BYTES_MAX) broken('a malformed error');
      const bytes = await must(length);
      const { error, messageBytes } = errorChunk.read(bytes);
      const text = decodeUtf8(bytes.subarray(errorChunk.size, errorChunk.size + messageBytes));
      waiting.error ??= failureOf(name, request, error, text);
    } else {
      broken(`a chunk of type ${type} in the answer to command ${request.type}`);
    }
  };
  /** The part of a read's target that a chunk fills. */
  const part = (waiting: Pending, at: number, length: number): Uint8Array => {
    const { request } = waiting;
    if (at < 0 || length < 1 || at + length > request.length || waiting.filled + length > request.length) {
      broken('a chunk outside what was asked for');
    }
    waiting.filled += length;
    return request.target!.subarray(at, at + length);
  };
  const receiveStatus = async (waiting: Pending, isWide: boolean, length: number) => {
    const table = isWide ? wideStatusExtent : statusExtent;
    const headBytes = isWide ? 8 : 4;
    if (length > STATUS_BYTES_MAX || length < headBytes + table.size || (length - headBytes) % table.size !== 0) {
      broken(`a block status of ${length} bytes`);
    }
    if (waiting.request.type !== COMMAND.blockStatus) broken('a block status that was not asked for');
    const bytes = await must(length);
    const id = viewOf(bytes).getUint32(0);
    if (id !== contextId || waiting.extents.length > 0) broken('a block status of a context that was not asked for');
    for (let at = headBytes; at < length; at += table.size) {
      const extent = table.read(bytes, at);
      if (extent.length === 0) broken('an empty extent');
      waiting.extents.push(extent);
    }
  };
  const receiveAll = async () => {
    for (;;) {
      // The three kinds of reply differ in their first four bytes, which all of them have.
      const first = await reader.peek(4);
      if (first === undefined) return lose('the server closed the connection');
      const magic = viewOf(first).getUint32(0);
      const isChunk = magic === (mode === 'extended' ? MAGIC.extendedReply : MAGIC.structuredReply);
      if (isChunk && mode !== 'simple') await receiveChunk();
      else if (magic === MAGIC.simpleReply && mode !== 'extended') await receiveSimple();
      else broken('something that is no reply');
    }
  };
  receiveAll().catch((error: Error) => lose(error.message));

  const encode = ({ type, flags = 0, offset, length, payload }: NbdRequest, id: bigint): Uint8Array[] => {
    const isExtended = mode === 'extended';
    const payloadFlag = isExtended && payload !== undefined ? COMMAND_FLAG.payload : 0;
    const common = { flags: flags | payloadFlag, type, cookie: id, offset, length };
    const header = isExtended
      ? extendedRequest.write({ magic: MAGIC.extendedRequest, ...common })
      : compactRequest.write({ magic: MAGIC.request, ...common });
    return payload === undefined ? [header] : [header, payload];
  };
  let lastWrite: Promise<void> = Promise.resolve();
  const transmit = (parts: readonly Uint8Array[]): Promise<void> => {
    const sent = lastWrite.then(() => stream.write(parts));
    lastWrite = sent.catch(() => {});
    return sent;
  };
  return {
    facts,
    hasStatus: contextId !== undefined,
    isExtended: mode === 'extended',
    get isLost() {
      return loss !== undefined;
    },
    send(request) {
      if (loss !== undefined) return Promise.reject(loss);
      const { promise, resolve, reject } = Promise.withResolvers<readonly StatusExtent[]>();
      cookie += 1n;
      pending.set(cookie, { request, resolve, reject, error: undefined, filled: 0, extents: [] });
      transmit(encode(request, cookie)).catch((error: Error) => lose(error.message));
      return promise;
    },
    async end() {
      if (loss !== undefined) return;
      await transmit(encode({ type: COMMAND.disconnect, offset: 0, length: 0 }, 0n)).catch(() => {});
      stream.end();
    },
    destroy: () => lose('the connection was closed'),
  };
}

const ERROR_CODES: ReadonlyMap<number, 'read-only' | 'no-space'> = new Map([
  [NBD_ERROR.notPermitted, 'read-only'],
  [NBD_ERROR.noSpace, 'no-space'],
] as const);

const COMMAND_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries({ ...COMMAND }).map(([name, value]) => [value, name]),
);

const ERROR_NAMES: ReadonlyMap<number, string> = new Map([
  [NBD_ERROR.notPermitted, 'Operation not permitted'],
  [NBD_ERROR.io, 'Input/output error'],
  [NBD_ERROR.noMemory, 'Cannot allocate memory'],
  [NBD_ERROR.invalid, 'Invalid argument'],
  [NBD_ERROR.noSpace, 'No space left on device'],
  [NBD_ERROR.overflow, 'Value too large for defined data type'],
  [NBD_ERROR.notSupported, 'Operation not supported'],
  [NBD_ERROR.shutdown, 'Cannot send after transport endpoint shutdown'],
]);

function failureOf(name: string, { type, offset, length }: NbdRequest, error: number, text: string): IoError {
  const reason = ERROR_NAMES.get(error) ?? `error ${error}`;
  const said = text === '' ? '' : ` (${text.replace(/[^\x20-\x7e]/g, '?')})`;
  const what = `${COMMAND_NAMES.get(type)} of ${length} bytes at ${offset}`;
  return new IoError(ERROR_CODES.get(error) ?? 'io', `${name}: ${what}: ${reason}${said}`);
}
