/** What a server does for each command (NBD project, doc/proto.md, "Transmission phase"). */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { chainOf, deepExtent } from '../chain.ts';
import { readPadded, zeroRange } from '../request.ts';
import type { ReplyMode } from './negotiation.ts';
import { ConnectionLost } from './reader.ts';
import type { ReadPart, ReplyWriter } from './replies.ts';
import type { NbdContext, StatusExtent } from './status.ts';
import { COMMAND, COMMAND_FLAG, NBD_ERROR, PAYLOAD_BYTES_MAX, type Request } from './wire.ts';

/** A connection after the negotiation. */
export interface Transmission {
  readonly node: BlockNode;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly contexts: readonly NbdContext[];
  readonly mode: ReplyMode;
  readonly replies: ReplyWriter;
}

interface Command {
  readonly changes: boolean;
  /** Flags that the command may have, beside FUA on those that change something. */
  readonly flags: number;
  readonly run: (transmission: Transmission, request: Request, payload: Uint8Array) => Promise<void>;
}

/** Reads shorter than this are answered in one piece, without looking for holes. */
const SPARSE_BYTES_MIN = 32 * 1024;
const READ_PARTS_MAX = 64;
const STATUS_EXTENTS_MAX = 2048;
const CACHE_BYTES_MAX = 32 * 2 ** 20;
const CACHE_STEP_BYTES = 2 ** 20;

const COMMANDS: Readonly<Record<number, Command>> = {
  [COMMAND.read]: { changes: false, flags: COMMAND_FLAG.dontFragment, run: read },
  [COMMAND.write]: { changes: true, flags: 0, run: write },
  [COMMAND.flush]: { changes: false, flags: 0, run: flush },
  [COMMAND.trim]: { changes: true, flags: 0, run: trim },
  [COMMAND.cache]: { changes: false, flags: 0, run: prefetch },
  [COMMAND.writeZeroes]: { changes: true, flags: COMMAND_FLAG.noHole | COMMAND_FLAG.fastZero, run: writeZeroes },
  [COMMAND.blockStatus]: { changes: false, flags: COMMAND_FLAG.requestOne, run: blockStatus },
};

/** Does what a request asks for and answers it, once. Rejects only when the answer cannot be sent, or by our mistake. */
export async function handleRequest(transmission: Transmission, request: Request, payload: Uint8Array): Promise<void> {
  const { replies } = transmission;
  const refused = refusal(transmission, request);
  if (refused !== undefined) return replies.fail(request, refused.error, refused.why);
  try {
    await COMMANDS[request.type].run(transmission, request, payload);
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof ConnectionLost) throw error;
    await replies.fail(request, nbdErrorOf(error), error.message);
  }
}

/** What is wrong with a request before anything is done. */
function refusal(transmission: Transmission, request: Request): { error: number; why: string } | undefined {
  const { type, flags, offset, length } = request;
  const { sizeBytes, isReadOnly, mode } = transmission;
  const invalid = (why: string) => ({ error: NBD_ERROR.invalid, why });
  if (!Object.hasOwn(COMMANDS, type)) return invalid(`command ${type} is not known`);
  const command = COMMANDS[type];
  // FUA is allowed on every command (doc/proto.md, "Command flags"), and means nothing on those that change nothing.
  const payloadFlag = mode === 'extended' && type === COMMAND.write ? COMMAND_FLAG.payload : 0;
  const unknown = flags & ~(command.flags | COMMAND_FLAG.fua | payloadFlag);
  if (unknown !== 0) return invalid(`command ${type} does not have the flags 0x${unknown.toString(16)}`);
  if (mode === 'extended' && type === COMMAND.write && (flags & COMMAND_FLAG.payload) === 0) {
    return invalid('a write has a payload');
  }
  if (command.changes && isReadOnly) return { error: NBD_ERROR.notPermitted, why: 'the export is read-only' };
  if (type === COMMAND.flush) return undefined;
  if (type === COMMAND.read && length > PAYLOAD_BYTES_MAX) {
    return { error: NBD_ERROR.invalid, why: `a read has at most ${PAYLOAD_BYTES_MAX} bytes` };
  }
  if (type === COMMAND.blockStatus && length === 0) return invalid('block status of no bytes');
  if (offset + length <= sizeBytes) return undefined;
  const isWrite = type === COMMAND.write || type === COMMAND.writeZeroes;
  const why = `${length} bytes at ${offset} are beyond the export's ${sizeBytes}`;
  return { error: isWrite ? NBD_ERROR.noSpace : NBD_ERROR.invalid, why };
}

async function read(transmission: Transmission, request: Request): Promise<void> {
  const { node, mode, replies } = transmission;
  const { offset, length, flags } = request;
  if (mode === 'simple' || length < SPARSE_BYTES_MIN || (flags & COMMAND_FLAG.dontFragment) !== 0) {
    const bytes = new Uint8Array(length);
    await node.read(offset, bytes);
    return replies.read(request, [{ offset, bytes }]);
  }
  const chain = chainOf(node);
  const parts: ReadPart[] = [];
  for (let at = offset; at < offset + length; ) {
    const rest = offset + length - at;
    const extent = parts.length < READ_PARTS_MAX ? await deepExtent(chain, at, rest) : { zero: false, length: rest };
    if (extent.zero) parts.push({ offset: at, holeBytes: extent.length });
    else {
      const bytes = new Uint8Array(extent.length);
      await node.read(at, bytes);
      parts.push({ offset: at, bytes });
    }
    at += extent.length;
  }
  await replies.read(request, parts);
}

async function write({ node, replies }: Transmission, request: Request, payload: Uint8Array): Promise<void> {
  await node.write(request.offset, payload);
  await finish(node, replies, request);
}

async function finish(node: BlockNode, replies: ReplyWriter, request: Request): Promise<void> {
  if ((request.flags & COMMAND_FLAG.fua) !== 0) await node.flush();
  await replies.done(request);
}

async function flush({ node, replies }: Transmission, request: Request): Promise<void> {
  await node.flush();
  await replies.done(request);
}

async function trim({ node, replies }: Transmission, request: Request): Promise<void> {
  await node.discard?.(request.offset, request.length);
  await finish(node, replies, request);
}

async function writeZeroes({ node, replies }: Transmission, request: Request): Promise<void> {
  const { offset, length, flags } = request;
  if ((flags & COMMAND_FLAG.fastZero) !== 0 && node.writeZeroes === undefined) {
    return replies.fail(request, NBD_ERROR.notSupported, 'zeros are not faster than a write here');
  }
  await zeroRange(node, offset, length, (flags & COMMAND_FLAG.noHole) === 0);
  await finish(node, replies, request);
}

/** Brings a range near: a hint, so that only so much of it is read. */
async function prefetch({ node, replies }: Transmission, request: Request): Promise<void> {
  const { offset } = request;
  const end = offset + Math.min(request.length, CACHE_BYTES_MAX);
  const bytes = new Uint8Array(Math.min(CACHE_STEP_BYTES, end - offset));
  for (let at = offset; at < end; at += bytes.length) await readPadded(node, at, bytes.subarray(0, end - at));
  await replies.done(request);
}

async function blockStatus({ contexts, replies }: Transmission, request: Request): Promise<void> {
  if (contexts.length === 0) return replies.fail(request, NBD_ERROR.invalid, 'no context was agreed on');
  const isOne = (request.flags & COMMAND_FLAG.requestOne) !== 0;
  const answers = [];
  for (const [index, context] of contexts.entries()) {
    answers.push({ id: index + 1, extents: await statusOf(context, request, isOne ? 1 : STATUS_EXTENTS_MAX) });
  }
  await replies.status(request, answers);
}

/** Joins neighbours of one kind; `most` extents at most. */
async function statusOf(context: NbdContext, { offset, length }: Request, most: number): Promise<StatusExtent[]> {
  const extents: StatusExtent[] = [];
  for (let at = offset; at < offset + length; ) {
    for (const extent of await context.status(at, offset + length - at)) {
      const last = extents.at(-1);
      if (last?.flags === extent.flags) extents[extents.length - 1] = { ...last, length: last.length + extent.length };
      else if (extents.length === most) return extents;
      else extents.push(extent);
      at += extent.length;
    }
  }
  return extents;
}

/** The protocol's error for a request that a node refused. */
function nbdErrorOf(error: unknown): number {
  if (!(error instanceof IoError)) return NBD_ERROR.io;
  if (error.code === 'no-space') return NBD_ERROR.noSpace;
  if (error.code === 'read-only') return NBD_ERROR.notPermitted;
  return error.code === 'out-of-range' ? NBD_ERROR.invalid : NBD_ERROR.io;
}
