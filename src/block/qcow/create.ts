/** Makes qcow images. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { joinBytes } from '../layout.ts';
import { alignUp } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import { CRYPT, headerLayout, LIMITS, l1EntriesFor, MAGIC, type QcowHeader, VERSION } from './layout.ts';

export interface QcowCreateOptions {
  readonly sizeBytes: number;
  readonly backingFile?: string;
  /** The disk's sectors are to be encrypted: it is opened with a `cipher`. */
  readonly isEncrypted?: boolean;
}

/** Writes an empty image to `file`, which must be empty. @throws UserError when the disk would be too large */
export async function createQcow(file: BlockNode, options: QcowCreateOptions): Promise<void> {
  const { sizeBytes, backingFile, isEncrypted = false } = options;
  const backing = encodeUtf8(backingFile ?? '');
  if (backing.length > LIMITS.backingBytes)
    throw new UserError(`the name of a backing file has at most ${LIMITS.backingBytes} bytes, not ${backing.length}`);
  // Over a backing file, clusters are sectors: nothing is ever copied up.
  const sizes = backingFile === undefined ? { clusterBits: 12, l2Bits: 9 } : { clusterBits: 9, l2Bits: 12 };
  const l1Offset = alignUp(headerLayout.size + backing.length, 8);
  const header: QcowHeader = {
    magic: MAGIC,
    version: VERSION,
    backingOffset: backingFile === undefined ? 0 : headerLayout.size,
    backingBytes: backing.length,
    modified: 0,
    diskBytes: sizeBytes,
    ...sizes,
    padding: 0,
    cryptMethod: isEncrypted ? CRYPT.aes : CRYPT.none,
    l1Offset,
  };
  const l1Entries = l1EntriesFor(header);
  if (sizeBytes < 2) throw new UserError('Image size must be at least 2 bytes');
  if (l1Entries > LIMITS.l1Entries)
    throw new UserError(`a qcow disk has at most ${LIMITS.l1Entries * 2 ** 21} bytes, not ${sizeBytes}`);
  await file.write(0, joinBytes([headerLayout.write(header), backing], l1Offset));
  await file.write(l1Offset, new Uint8Array(alignUp(l1Entries * 8, 512)));
  await file.flush();
}
