/** Helpers that every node uses. */

import { IoError } from '../base/index.ts';
import type { BlockNode } from '../contract/index.ts';

/** Refuses a request that does not lie inside [0, sizeBytes). */
export function checkRange(name: string, sizeBytes: number, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && offset >= 0 && length >= 0 && offset + length <= sizeBytes) return;
  throw new IoError('out-of-range', `${name}: ${length} bytes at ${offset} do not lie inside its ${sizeBytes} bytes`);
}

export function checkWritable(name: string, readOnly: boolean): void {
  if (readOnly) throw new IoError('read-only', `${name}: it is open for reading only`);
}

const ZERO_CHUNK_BYTES = 1024 * 1024;

/** Makes a range zeros by whatever means the node has. */
export async function zeroRange(node: BlockNode, offset: number, length: number, mayUnmap = false): Promise<void> {
  if (length === 0) return;
  if (node.writeZeroes !== undefined) return node.writeZeroes(offset, length, { mayUnmap });
  const zeros = new Uint8Array(Math.min(length, ZERO_CHUNK_BYTES));
  for (let done = 0; done < length; done += zeros.length) {
    await node.write(offset + done, zeros.subarray(0, Math.min(zeros.length, length - done)));
  }
}

/** Reads what there is, and zeros where the node has ended (backing nodes may be shorter than what stands on them). */
export async function readPadded(node: BlockNode, offset: number, target: Uint8Array): Promise<void> {
  const available = Math.max(0, Math.min(target.length, node.sizeBytes - offset));
  if (available > 0) await node.read(offset, target.subarray(0, available));
  target.fill(0, available);
}

/** True when every byte is 0. */
export function isZero(bytes: Uint8Array): boolean {
  const { length, byteOffset } = bytes;
  let i = 0;
  for (; i < length && ((byteOffset + i) & 3) !== 0; i += 1) if (bytes[i] !== 0) return false;
  const words = new Int32Array(bytes.buffer, byteOffset + i, (length - i) >> 2);
  const blocks = words.length & ~7;
  let j = 0;
  for (; j < blocks; j += 8) {
    const low = words[j] | words[j + 1] | words[j + 2] | words[j + 3];
    if ((low | words[j + 4] | words[j + 5] | words[j + 6] | words[j + 7]) !== 0) return false;
  }
  for (; j < words.length; j += 1) if (words[j] !== 0) return false;
  for (i += words.length * 4; i < length; i += 1) if (bytes[i] !== 0) return false;
  return true;
}

export function alignDown(value: number, unit: number): number {
  return value - (value % unit);
}

export function alignUp(value: number, unit: number): number {
  return alignDown(value + unit - 1, unit);
}
