/**
 * Carrying out a disk request on a block node. Data that waits lies in a buffer of our own: the guest may take its
 * own back at any time.
 */
import { UserError } from '../../../base/index.ts';
import type { BlockNode } from '../../../contract/index.ts';
import type { Chain } from '../chain.ts';
import type { BlkRequest } from './request.ts';
import { BLK_STATUS, ID_BYTES } from './request.ts';

/** Bytes moved at once for one request; a longer request goes in pieces. */
export const PIECE_BYTES = 1024 * 1024;
/** virtio_blk_req.header, before the data of a write. */
const HEADER_BYTES = 16;

export interface ExecuteOptions {
  readonly node: BlockNode;
  readonly serial: string;
  /** Flush after every change: the driver does not ask for flushes itself. */
  readonly writeThrough: boolean;
  /** False once the guest has taken its buffers back: they must not be written any more. */
  isWanted(): boolean;
}

/** Does within the call what the node can do so, straight in the guest's buffers; false: `execute` must. */
export function executeNow(request: BlkRequest, chain: Chain, { node, writeThrough }: ExecuteOptions): boolean {
  const { immediate } = node;
  if (immediate === undefined) return false;
  if (request.kind === 'write' && !writeThrough) {
    return immediate.write(request.offset, chain.readableViews(HEADER_BYTES, request.length));
  }
  if (request.kind !== 'read') return false;
  const isDone = immediate.read(request.offset, chain.writableViews(0, request.length));
  chain.filled(0, request.length);
  return isDone;
}

/** Returns the status to report. Rejects only by a mistake of ours. */
export async function execute(request: BlkRequest, chain: Chain, options: ExecuteOptions): Promise<number> {
  try {
    return await attempt(request, chain, options);
  } catch (error) {
    if (error instanceof UserError) return BLK_STATUS.ioError;
    throw error;
  }
}

async function attempt(request: BlkRequest, chain: Chain, options: ExecuteOptions): Promise<number> {
  const { node, serial, writeThrough } = options;
  switch (request.kind) {
    case 'refused':
      return request.status;
    case 'read':
      await eachPiece(request, async (offset, piece, done) => {
        await node.read(offset, piece);
        if (options.isWanted()) chain.write(done, piece);
      });
      return BLK_STATUS.ok;
    case 'write':
      await eachPiece(request, async (offset, piece, done) => {
        chain.read(HEADER_BYTES + done, piece);
        await node.write(offset, piece);
      });
      break;
    case 'flush':
      await node.flush();
      return BLK_STATUS.ok;
    case 'id': {
      const id = new Uint8Array(ID_BYTES);
      for (let i = 0; i < Math.min(serial.length, ID_BYTES); i++) id[i] = serial.charCodeAt(i);
      chain.write(0, id);
      return BLK_STATUS.ok;
    }
    case 'discard':
      for (const { offset, length } of request.ranges) await node.discard?.(offset, length);
      break;
    case 'write-zeroes':
      for (const { offset, length, mayUnmap } of request.ranges) {
        await zeroes(node, offset, length, mayUnmap);
      }
      break;
  }
  if (writeThrough) await node.flush();
  return BLK_STATUS.ok;
}

/** Makes a range zeros by whatever means the node has. */
export async function zeroes(node: BlockNode, offset: number, length: number, mayUnmap: boolean): Promise<void> {
  if (node.writeZeroes) await node.writeZeroes(offset, length, { mayUnmap });
  else await eachPiece({ offset, length }, (at, piece) => node.write(at, piece.fill(0)));
}

/** Moves a request's bytes through one buffer, in order. */
export async function eachPiece(
  { offset, length }: { readonly offset: number; readonly length: number },
  move: (offset: number, piece: Uint8Array, done: number) => Promise<void>,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(length, PIECE_BYTES));
  for (let done = 0; done < length; done += buffer.length) {
    await move(offset + done, buffer.subarray(0, Math.min(buffer.length, length - done)), done);
  }
}
