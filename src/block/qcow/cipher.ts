/** Encrypted data as if it were plain. */
import type { BlockNode } from '../../contract/index.ts';
import type { SectorCipher } from '../format.ts';
import { alignDown, alignUp, readPadded } from '../request.ts';

const SECTOR_BYTES = 512;

/** `file`, whose byte `at` belongs to byte `at + shift` of the disk, which says how its sectors are encrypted. */
export function plainView(file: BlockNode, shift: number, cipher: SectorCipher): BlockNode {
  const readSectors = async (offset: number, length: number) => {
    const start = alignDown(offset + shift, SECTOR_BYTES);
    const bytes = new Uint8Array(alignUp(offset + shift + length, SECTOR_BYTES) - start);
    await readPadded(file, start - shift, bytes);
    await cipher.decrypt(start / SECTOR_BYTES, bytes);
    return { start, bytes };
  };
  return {
    sizeBytes: file.sizeBytes,
    readOnly: file.readOnly,
    limits: file.limits,
    async read(offset, target) {
      const { start, bytes } = await readSectors(offset, target.length);
      const from = offset + shift - start;
      target.set(bytes.subarray(from, from + target.length));
    },
    async write(offset, source) {
      const { start, bytes } = await readSectors(offset, source.length);
      bytes.set(source, offset + shift - start);
      await cipher.encrypt(start / SECTOR_BYTES, bytes);
      await file.write(start - shift, bytes);
    },
    flush: () => file.flush(),
    extents: (offset, length) => file.extents(offset, length),
    close: async () => {},
  };
}
