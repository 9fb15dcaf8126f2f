/** Copying persistent bitmaps with an image's content (convert --bitmaps). */
import { UserError } from '../../base/index.ts';
import type { BitmapInfo, Bitmaps } from '../../block/core.ts';
import type { OpenedImage } from './images.ts';

/** The bitmaps to copy. @throws UserError where one is broken, unless those are skipped, which is said */
export function bitmapsToCopy({ node }: OpenedImage, skipsBroken: boolean): readonly BitmapInfo[] {
  if (node.bitmaps === undefined) throw new UserError('Source lacks bitmap support');
  const list = node.bitmaps.list();
  const broken = list.filter(({ isInUse }) => isInUse);
  for (const { name } of broken) {
    if (!skipsBroken) {
      throw new UserError(
        `Cannot copy inconsistent bitmap '${name}': try --skip-broken-bitmaps, or vireo-img bitmap --remove`,
      );
    }
    process.stderr.write(`vireo-img: warning: Skipping inconsistent bitmap '${name}'\n`);
  }
  return list.filter(({ isInUse }) => !isInUse);
}

export async function copyBitmaps(source: Bitmaps, target: Bitmaps, list: readonly BitmapInfo[]): Promise<void> {
  for (const { name, granularityBytes, isEnabled } of list) {
    await target.add({ name, granularityBytes });
    await target.mark(name, await source.dirtyRanges(name));
    if (!isEnabled) await target.setEnabled(name, false);
  }
}
