/** Disk images for machines: from what `--disk` says to a block node. */
import { dirname, resolve } from 'node:path';
import { UserError } from '../base/index.ts';
import { type Format, qcow2, type ResolveBacking, raw } from '../block/index.ts';
import type { BlockNode } from '../contract/index.ts';
import { nodeCompression, openFileNode } from '../host/node/index.ts';
import type { DiskOptions } from '../machine/index.ts';

const FORMATS: readonly Format[] = [raw, qcow2];
/** What formats are told by. */
const HEAD_BYTES = 2048;
/** Images that stand on one another, at most. */
const CHAIN_MAX = 64;

export const DISK_FORMATS: readonly string[] = FORMATS.map(({ name }) => name);

/**
 * Opens the image and what it stands on.
 *
 * A guest can write anything into a raw disk, also the header of another
 * format that names a file of the host's. So an image whose format nobody
 * stated may not refer to other files.
 * @throws UserError that names the file and what is wrong with it
 */
export function openDisk({ file, format, readOnly = false }: DiskOptions): Promise<BlockNode> {
  return openImage(file, format, readOnly, 1);
}

async function openImage(
  path: string,
  formatName: string | undefined,
  readOnly: boolean,
  depth: number,
): Promise<BlockNode> {
  if (depth > CHAIN_MAX) throw new UserError(`${path}: over ${CHAIN_MAX} images stand on one another`);
  const child = openFileNode(path, { readOnly });
  try {
    const format = formatName === undefined ? await probe(child, path) : formatNamed(formatName);
    const resolveBacking: ResolveBacking = async (reference) => {
      if (formatName === undefined) {
        throw new UserError(`${path} stands on ${reference.filename}: to allow that, say format=${format.name}`);
      }
      return openImage(resolve(dirname(path), reference.filename), reference.format ?? 'raw', true, depth + 1);
    };
    return await format.open(child, { name: path, readOnly, resolveBacking, compression: nodeCompression });
  } catch (error) {
    await child.close();
    throw error;
  }
}

export function formatNamed(name: string): Format {
  const format = FORMATS.find((one) => one.name === name);
  if (format === undefined) throw new UserError(`there is no disk format ${name}, only ${DISK_FORMATS.join(' and ')}`);
  return format;
}

async function probe(file: BlockNode, path: string): Promise<Format> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, file.sizeBytes));
  await file.read(0, head);
  return FORMATS.reduce((best, format) => (format.probe(head, path) > best.probe(head, path) ? format : best));
}
