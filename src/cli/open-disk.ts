/** Disk images for machines: from what `--disk` says to a block node. */
import { UserError } from '../base/index.ts';
import type { BlockNode } from '../contract/index.ts';
import type { DiskOptions, OpenDiskHow } from '../machine/index.ts';
import { openImage } from './drivers/open.ts';
import { FORMAT_DRIVERS, type FormatDriver } from './drivers/registry.ts';

/**
 * Opens the image and what it stands on.
 *
 * A guest can write anything into a raw disk, also the header of another
 * format that names a file of the host's. So an image whose format nobody
 * stated may not refer to other files.
 * @throws UserError that names the file and what is wrong with it
 */
export async function openDisk(
  { file, format, readOnly = false, cache }: DiskOptions,
  { lookOnly }: OpenDiskHow = { lookOnly: false },
): Promise<BlockNode> {
  const stated = format === undefined ? {} : { format };
  const image = await openImage(file, {
    ...stated,
    cache,
    writable: !readOnly && !lookOnly,
    forceShare: lookOnly,
    distrustProbed: true,
    io: 'cached',
  });
  return image.node;
}

export function formatNamed(name: string): FormatDriver {
  const format = FORMAT_DRIVERS.find((one) => one.name === name);
  if (format === undefined) {
    throw new UserError(
      `there is no disk format ${name}; there are ${FORMAT_DRIVERS.map((one) => one.name).join(', ')}`,
    );
  }
  return format;
}
