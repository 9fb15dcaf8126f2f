/** An NBD export as a block node: several connections, reconnection, requests split as the server wants them. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockExtent, BlockNode, ByteStream, Clock } from '../../contract/index.ts';
import { checkRange, checkWritable } from '../request.ts';
import { type NbdClientOptions, negotiateClient } from './client-negotiation.ts';
import { ConnectionLost } from './reader.ts';
import { type NbdRequest, type NbdSession, nbdSession } from './session.ts';
import type { StatusExtent } from './status.ts';
import { ALLOCATION, COMMAND, COMMAND_FLAG, EXPORT_FLAG, PAYLOAD_BYTES_MAX } from './wire.ts';

export interface NbdNodeOptions extends NbdClientOptions {
  /** Names the export in complaints. */
  readonly name: string;
  /** Opens a connection. Rejects with a `UserError`. */
  readonly connect: () => Promise<ByteStream>;
  readonly readOnly?: boolean;
  /** Connections to use, where the server allows more than one. */
  readonly connections?: number;
  /** How long requests wait for a connection that was lost to come back; 0: they fail at once. Needs `clock`. */
  readonly reconnectNanos?: number;
  readonly clock?: Clock;
}

const CONNECTIONS_MAX = 16;
const COMPACT_LENGTH_MAX = 2 ** 31;
const EXTENDED_LENGTH_MAX = 2 ** 50;
const RETRY_FIRST_NANOS = 50e6;
const RETRY_MAX_NANOS = 1e9;

/** Connects to an export. @throws UserError when the server refuses it or cannot be reached */
export async function openNbd(options: NbdNodeOptions): Promise<BlockNode> {
  const first = await openSession(options);
  const { facts } = first;
  const { name, connections = 1 } = options;
  const isReadOnly = (facts.flags & EXPORT_FLAG.readonly) !== 0;
  if (isReadOnly && options.readOnly === false) {
    first.destroy();
    throw new UserError(`${name}: the server exports it read-only`);
  }
  const sessions: NbdSession[] = [first];
  const wanted = (facts.flags & EXPORT_FLAG.multi) === 0 ? 1 : Math.min(connections, CONNECTIONS_MAX);
  const stopOpening = openMore(options, sessions, wanted);
  return nbdNode(options, sessions, options.readOnly ?? isReadOnly, stopOpening);
}

/**
 * Opens further connections while the first is in use already: a server that serves fewer clients at
 * once than it could lets the others wait. Returns what gives up those that are still waiting.
 */
function openMore(options: NbdNodeOptions, sessions: NbdSession[], wanted: number): () => void {
  const opening = new Set<ByteStream>();
  let isOver = false;
  const connect = async () => {
    const stream = await options.connect();
    if (isOver) stream.destroy();
    opening.add(stream);
    return stream;
  };
  const run = async () => {
    while (!isOver && sessions.length < wanted) {
      const session = await openSession({ ...options, connect });
      opening.clear();
      if (isOver) session.destroy();
      else sessions.push(session);
    }
  };
  run().catch(() => {}); // the server takes no more of them: those that there are do as well
  return () => {
    isOver = true;
    for (const stream of opening) stream.destroy();
  };
}

async function openSession(options: NbdNodeOptions): Promise<NbdSession> {
  const stream = await options.connect();
  try {
    return nbdSession(await negotiateClient(stream, options), options.name);
  } catch (error) {
    stream.destroy();
    throw error instanceof UserError ? new UserError(`${options.name}: ${error.message}`) : error;
  }
}

function nbdNode(
  options: NbdNodeOptions,
  sessions: NbdSession[],
  readOnly: boolean,
  stopOpening: () => void,
): BlockNode {
  const { name } = options;
  const { facts } = sessions[0];
  const { sizeBytes, flags, minBytes } = facts;
  const has = (flag: keyof typeof EXPORT_FLAG) => (flags & EXPORT_FLAG[flag]) !== 0;
  const payloadMax =
    Math.min(facts.maxBytes, PAYLOAD_BYTES_MAX) - (Math.min(facts.maxBytes, PAYLOAD_BYTES_MAX) % minBytes);
  const pick = sessionPicker(options, sessions);
  const run = async (request: NbdRequest): Promise<readonly StatusExtent[]> => {
    for (;;) {
      const session = await pick();
      try {
        return await session.send(request);
      } catch (error) {
        if (!(error instanceof ConnectionLost) || (options.reconnectNanos ?? 0) === 0) throw error;
      }
    }
  };
  /** Sends a request in pieces that are no longer than `most`. */
  const inPieces = async (
    type: number,
    offset: number,
    length: number,
    most: number,
    more: (at: number, piece: number) => Partial<NbdRequest>,
  ) => {
    const pieces: Promise<unknown>[] = [];
    for (let at = 0; at < length; at += most) {
      const piece = Math.min(most, length - at);
      pieces.push(run({ type, offset: offset + at, length: piece, ...more(at, piece) }));
    }
    // All of them, so that what the caller lent is not touched any more.
    const failed = (await Promise.allSettled(pieces)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  };
  const effectMax = () => {
    const most = sessions[0].isExtended ? EXTENDED_LENGTH_MAX : COMPACT_LENGTH_MAX;
    return most - (most % minBytes);
  };
  const changes = (offset: number, length: number) => {
    checkWritable(name, readOnly);
    checkRange(name, sizeBytes, offset, length);
  };
  const node: BlockNode = {
    sizeBytes,
    readOnly,
    limits: {
      alignmentBytes: minBytes,
      preferredBytes: Math.max(minBytes, Math.min(facts.preferredBytes, payloadMax)),
    },
    async read(offset, target) {
      checkRange(name, sizeBytes, offset, target.length);
      await inPieces(COMMAND.read, offset, target.length, payloadMax, (at, piece) => ({
        target: target.subarray(at, at + piece),
      }));
    },
    async write(offset, source) {
      changes(offset, source.length);
      await inPieces(COMMAND.write, offset, source.length, payloadMax, (at, piece) => ({
        payload: source.subarray(at, at + piece),
      }));
    },
    async flush() {
      if (!readOnly && has('flush')) await run({ type: COMMAND.flush, offset: 0, length: 0 });
    },
    async extents(offset, length) {
      checkRange(name, sizeBytes, offset, length);
      const whole = { offset, length, allocated: true, zero: false, data: true, childOffset: offset };
      if (length === 0 || !sessions[0].hasStatus) return [whole];
      const asked = Math.min(length, effectMax());
      return extentsFrom(offset, asked, await run({ type: COMMAND.blockStatus, offset, length: asked }));
    },
    async close() {
      stopOpening();
      if (sessions.every(({ isLost }) => isLost)) return;
      await node.flush();
      for (const session of sessions) await session.end();
    },
  };
  if (has('trim')) {
    node.discard = async (offset, length) => {
      changes(offset, length);
      await inPieces(COMMAND.trim, offset, length, effectMax(), () => ({}));
    };
  }
  if (has('zeroes')) {
    node.writeZeroes = async (offset, length, { mayUnmap = false } = {}) => {
      changes(offset, length);
      const how = { flags: mayUnmap ? 0 : COMMAND_FLAG.noHole };
      await inPieces(COMMAND.writeZeroes, offset, length, effectMax(), () => how);
    };
  }
  return node;
}

function extentsFrom(offset: number, length: number, found: readonly StatusExtent[]): BlockExtent[] {
  const extents: BlockExtent[] = [];
  let at = offset;
  for (const { length: given, flags } of found) {
    // A server may tell of more than it was asked.
    const part = Math.min(given, offset + length - at);
    if (part <= 0) break;
    const zero = (flags & ALLOCATION.zero) !== 0;
    const data = (flags & ALLOCATION.hole) === 0;
    extents.push({ offset: at, length: part, allocated: true, zero, data, childOffset: at });
    at += part;
  }
  return extents;
}

/** Gives out the connections in turn; one that was lost is opened again first. */
function sessionPicker(options: NbdNodeOptions, sessions: NbdSession[]): () => Promise<NbdSession> {
  const { reconnectNanos = 0, clock, name } = options;
  const opening = new Map<number, Promise<void>>();
  let turn = 0;
  const sameExport = (session: NbdSession, before: NbdSession) => {
    if (session.facts.sizeBytes === before.facts.sizeBytes) return;
    session.destroy();
    throw new IoError('io', `${name}: after reconnecting, the export has another size`);
  };
  const reopen = async (index: number, timers: Clock) => {
    const deadline = timers.nowNanos() + reconnectNanos;
    for (let pause = RETRY_FIRST_NANOS; ; pause = Math.min(RETRY_MAX_NANOS, pause * 2)) {
      try {
        const session = await openSession(options);
        sameExport(session, sessions[index]);
        sessions[index] = session;
        return;
      } catch (error) {
        if (error instanceof IoError && !(error instanceof ConnectionLost)) throw error;
        if (!(error instanceof UserError)) throw error;
        if (timers.nowNanos() + pause > deadline) throw new IoError('io', error.message);
      }
      await sleep(timers, pause);
    }
  };
  return async () => {
    turn = (turn + 1) % sessions.length;
    const index = turn;
    if (!sessions[index].isLost) return sessions[index];
    if (reconnectNanos === 0 || clock === undefined) {
      const other = sessions.find(({ isLost }) => !isLost);
      if (other !== undefined) return other;
      throw new ConnectionLost(`${name}: the connection to the server was lost`);
    }
    let attempt = opening.get(index);
    if (attempt === undefined) {
      attempt = reopen(index, clock).finally(() => opening.delete(index));
      opening.set(index, attempt);
    }
    await attempt;
    return sessions[index];
  };
}

function sleep(clock: Clock, nanos: number): Promise<void> {
  return new Promise((resolve) => clock.createTimer(resolve).arm(clock.nowNanos() + nanos));
}
