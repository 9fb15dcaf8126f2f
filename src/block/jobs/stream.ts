/** Stream: what comes from below is written into the top image, which then stands alone, or on a lower image. */
import { UserError } from '../../base/index.ts';
import { chainOf, deepExtent } from '../chain.ts';
import type { BackingReference, ImageNode } from '../format.ts';
import { type Job, type JobControl, type JobOptions, startJob } from './job.ts';
import type { LiveNode } from './live.ts';

export interface StreamOptions extends JobOptions {
  /** The image that stays below, by its place under the top one (1: the next), and how it is named; without it, none does. */
  readonly base?: { readonly depth: number; readonly reference: BackingReference };
}

/**
 * The disk reads the same at every moment; only once all is copied and flushed is the name of the
 * backing file changed. @throws UserError when the disk is no image with a backing file
 */
export function streamJob(live: LiveNode, options: StreamOptions = {}): Job {
  const image = live.current as ImageNode;
  if (image.changeBacking === undefined) throw new UserError('only an image with a backing file can be streamed to');
  const chain = chainOf(image);
  const depth = options.base?.depth ?? chain.length;
  if (!(depth >= 1 && depth <= chain.length)) throw new UserError(`there is no image at depth ${depth} below this one`);
  return startJob(async (control) => {
    control.addTotal(live.sizeBytes);
    // From here on changes hold what they change.
    const unwatch = await live.drained(async () => live.watch({}));
    try {
      await copyAll(control);
    } finally {
      unwatch();
    }
    await image.flush();
    await live.drained(() => image.changeBacking!(options.base?.reference));
  }, options);

  async function copyAll(control: JobControl): Promise<void> {
    for (let at = 0; at < live.sizeBytes; ) {
      const length = Math.min(live.granuleBytes, live.sizeBytes - at);
      await control.pass(length);
      await live.hold(at, length, () => pull(at, length));
      at += length;
    }
  }

  /** Copies what the images between hold of a range. */
  async function pull(from: number, length: number): Promise<void> {
    for (let at = from; at < from + length; ) {
      const extent = await deepExtent(chain, at, from + length - at);
      const isBetween = extent.depth > 1 && extent.depth <= depth;
      // Zeros need not be stored when nothing stays below that could show through.
      if (isBetween && !(extent.zero && options.base === undefined)) {
        const bytes = new Uint8Array(extent.length);
        await image.read(at, bytes);
        await image.write(at, bytes);
      }
      at += extent.length;
    }
  }
}
