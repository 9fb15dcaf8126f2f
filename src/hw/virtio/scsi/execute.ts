/** Carrying out a command on a unit's block node: within the call where it can be, else through buffers of our own. */
import { UserError } from '../../../base/index.ts';
import type { BlockNode } from '../../../contract/index.ts';
import { eachPiece, zeroes } from '../blk/execute.ts';
import type { Chain } from '../chain.ts';
import type { ScsiAction } from './commands.ts';
import { UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX } from './inquiry.ts';
import { SENSE, type Sense } from './sense.ts';
import { blockCount, type ScsiUnit } from './unit.ts';

/** Where a command's data is in its chain. */
export interface Transfer {
  readonly chain: Chain;
  readonly outOffset: number;
  readonly outBytes: number;
  readonly inOffset: number;
  readonly inBytes: number;
  /** False once the guest has taken its buffers back. */
  isWanted(): boolean;
}

export interface Outcome {
  readonly sense?: Sense;
  /** Bytes that the command wanted to move, in whichever direction. */
  readonly expectedBytes: number;
  /** Bytes handed to the driver. */
  readonly inBytes: number;
}

/** Does within the call what needs no waiting; undefined: `execute` must. */
export function executeNow(action: ScsiAction, { node }: ScsiUnit, transfer: Transfer): Outcome | undefined {
  const { chain, outOffset, outBytes, inOffset, inBytes } = transfer;
  const { immediate } = node;
  switch (action.kind) {
    case 'failed':
    case 'done':
    case 'answer':
      return answered(action, transfer);
    case 'read': {
      const length = Math.min(action.length, inBytes);
      if (immediate === undefined || length === 0) return undefined;
      const isDone = immediate.read(action.offset, chain.writableViews(inOffset, length));
      chain.filled(inOffset, length);
      return isDone ? { expectedBytes: action.length, inBytes: length } : undefined;
    }
    case 'write': {
      const length = Math.min(action.length, outBytes);
      if (immediate === undefined || length === 0) return undefined;
      const isDone = immediate.write(action.offset, chain.readableViews(outOffset, length));
      return isDone ? { expectedBytes: action.length, inBytes: 0 } : undefined;
    }
    default:
      return undefined;
  }
}

/** What needs no disk. */
function answered(
  action: Extract<ScsiAction, { kind: 'failed' | 'done' | 'answer' }>,
  { chain, inOffset, inBytes }: Transfer,
): Outcome {
  if (action.kind === 'failed') return failed(action.sense);
  if (action.kind === 'done') return { expectedBytes: 0, inBytes: 0 };
  chain.write(inOffset, action.data.subarray(0, inBytes));
  return { expectedBytes: action.data.length, inBytes: Math.min(action.data.length, inBytes) };
}

/** Rejects only by a mistake of ours. */
export async function execute(action: ScsiAction, unit: ScsiUnit, transfer: Transfer): Promise<Outcome> {
  try {
    return await attempt(action, unit, transfer);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return failed(action.kind === 'read' ? SENSE.readError : SENSE.writeError);
  }
}

function failed(sense: Sense): Outcome {
  return { sense, expectedBytes: 0, inBytes: 0 };
}

async function attempt(action: ScsiAction, unit: ScsiUnit, transfer: Transfer): Promise<Outcome> {
  const { chain, outOffset, outBytes, inOffset, inBytes } = transfer;
  const { node } = unit;
  switch (action.kind) {
    case 'failed':
    case 'done':
    case 'answer':
      return answered(action, transfer);
    case 'flush':
      await node.flush();
      return { expectedBytes: 0, inBytes: 0 };
    case 'read': {
      const length = Math.min(action.length, inBytes);
      await eachPiece({ offset: action.offset, length }, async (offset, piece, done) => {
        await node.read(offset, piece);
        if (transfer.isWanted()) chain.write(inOffset + done, piece);
      });
      return { expectedBytes: action.length, inBytes: length };
    }
    case 'write':
      await eachPiece(
        { offset: action.offset, length: Math.min(action.length, outBytes) },
        async (offset, piece, done) => {
          chain.read(outOffset + done, piece);
          await node.write(offset, piece);
        },
      );
      return { expectedBytes: action.length, inBytes: 0 };
    case 'zero':
      await zeroes(node, action.offset, action.length, action.unmap ?? false);
      return { expectedBytes: 0, inBytes: 0 };
    case 'write-same':
      return writeSame(action, unit, transfer);
    case 'unmap':
      return unmap(action.length, unit, transfer);
  }
}

async function writeSame(
  { offset, length, unmap: mayUnmap }: Extract<ScsiAction, { kind: 'write-same' }>,
  { node, blockBytes }: ScsiUnit,
  { chain, outOffset, outBytes }: Transfer,
): Promise<Outcome> {
  if (outBytes < blockBytes) return failed(SENSE.badField);
  const block = new Uint8Array(blockBytes);
  chain.read(outOffset, block);
  if (block.every((byte) => byte === 0)) await zeroes(node, offset, length, mayUnmap);
  else await fill(node, offset, length, block);
  return { expectedBytes: blockBytes, inBytes: 0 };
}

async function fill(node: BlockNode, offset: number, length: number, block: Uint8Array): Promise<void> {
  await eachPiece({ offset, length }, (at, piece) => {
    for (let i = 0; i < piece.length; i += block.length) piece.set(block, i);
    return node.write(at, piece);
  });
}

const UNMAP_HEADER_BYTES = 8;
const UNMAP_DESCRIPTOR_BYTES = 16;

/** SBC-3, 5.28: nothing is given up unless all of it may be. */
async function unmap(length: number, unit: ScsiUnit, { chain, outOffset, outBytes }: Transfer): Promise<Outcome> {
  const list = new Uint8Array(
    Math.min(length, outBytes, UNMAP_HEADER_BYTES + UNMAP_DESCRIPTORS_MAX * UNMAP_DESCRIPTOR_BYTES),
  );
  chain.read(outOffset, list);
  const ranges: { offset: number; length: number }[] = [];
  const view = new DataView(list.buffer);
  for (let at = UNMAP_HEADER_BYTES; at + UNMAP_DESCRIPTOR_BYTES <= list.length; at += UNMAP_DESCRIPTOR_BYTES) {
    const [address, count] = [Number(view.getBigUint64(at)), view.getUint32(at + 8)];
    if (count > UNMAP_BLOCKS_MAX) return failed(SENSE.badParameter);
    if (address + count > blockCount(unit)) return failed(SENSE.outOfRange);
    if (count > 0) ranges.push({ offset: address * unit.blockBytes, length: count * unit.blockBytes });
  }
  for (const range of ranges) await unit.node.discard?.(range.offset, range.length);
  return { expectedBytes: length, inBytes: 0 };
}
