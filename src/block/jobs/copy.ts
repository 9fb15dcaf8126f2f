/** Mirror, commit and backup: copying a disk that changes meanwhile. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { chainOf, deepExtent } from '../chain.ts';
import type { Bitmaps } from '../format.ts';
import { zeroRange } from '../request.ts';
import { type Job, type JobControl, type JobOptions, startJob } from './job.ts';
import type { LiveNode } from './live.ts';
import { allocatedRanges, type GranuleMap, granuleMap } from './ranges.ts';

/** Which part is copied: all of the disk, what its top image holds itself, or only what is written from now on. */
export type SyncMode = 'full' | 'top' | 'none';

export interface MirrorOptions extends JobOptions {
  readonly target: BlockNode;
  readonly sync?: SyncMode;
  /** With `top`: how many images of the chain count as its top; default 1. */
  readonly depth?: number;
  /** What the guest uses after `complete`, asked then; default `target`. */
  readonly stay?: () => 'source' | 'target';
}

/** Copies `[at, at + length)`, as zeros where the source is sure of them. */
async function copyRange(source: BlockNode, target: BlockNode, at: number, length: number): Promise<void> {
  const chain = chainOf(source);
  for (let done = 0; done < length; ) {
    const extent = await deepExtent(chain, at + done, length - done);
    if (extent.zero) await zeroRange(target, at + done, extent.length, true);
    else {
      const bytes = new Uint8Array(extent.length);
      await source.read(at + done, bytes);
      await target.write(at + done, bytes);
    }
    done += extent.length;
  }
}

function checkTarget(source: BlockNode, target: BlockNode): void {
  if (target.readOnly) throw new UserError('the target of the job is read-only');
  if (target.sizeBytes < source.sizeBytes) {
    throw new UserError(`the target has ${target.sizeBytes} bytes, and the disk ${source.sizeBytes}`);
  }
}

async function markFor(sync: SyncMode, node: BlockNode, map: GranuleMap, depth = 1): Promise<void> {
  if (sync === 'full') map.set(0, node.sizeBytes);
  else if (sync === 'top') await allocatedRanges(node, depth, map.set);
}

/**
 * Copies the disk and then what changes, until `complete`: then source and target are equal,
 * flushed, and the guest goes on with the target. Cancelled or killed at any moment, the
 * source is what it was; the target is of no use then. @throws UserError for a target that does not fit
 */
export function mirrorJob(live: LiveNode, options: MirrorOptions): Job {
  const { target, sync = 'full', depth, stay = () => 'target' } = options;
  checkTarget(live, target);
  return startJob(async (control) => {
    const dirty = granuleMap(live.sizeBytes, live.granuleBytes);
    const unwatch = await live.drained(async () => {
      await markFor(sync, live.current, dirty, depth);
      return live.watch({
        after(offset, length) {
          const before = dirty.count;
          dirty.set(offset, length);
          control.addTotal((dirty.count - before) * live.granuleBytes);
          control.wake();
        },
      });
    });
    control.addTotal(dirty.count * live.granuleBytes);
    try {
      for (;;) {
        await copyDirty(live, target, dirty, control);
        if (control.isCompleting && (await finish(live, target, dirty, stay()))) return;
        if (dirty.count === 0) await control.idle();
      }
    } finally {
      unwatch();
    }
  }, options);
}

/** Copies until nothing is left; what the guest changes meanwhile comes again. */
async function copyDirty(live: LiveNode, target: BlockNode, dirty: GranuleMap, control: JobControl): Promise<void> {
  let index = dirty.next(0);
  while (index !== undefined) {
    const at = index * live.granuleBytes;
    const length = Math.min(live.granuleBytes, live.sizeBytes - at);
    await control.pass(live.granuleBytes);
    // Cleared before the read: a change that settles later sets it again.
    dirty.clear(index);
    try {
      await copyRange(live.current, target, at, length);
    } catch (error) {
      dirty.set(at, length);
      throw error;
    }
    index = dirty.next(index + 1);
  }
}

/** The last of it, while the guest waits; false when it is more than a guest should wait for. */
async function finish(
  live: LiveNode,
  target: BlockNode,
  dirty: GranuleMap,
  stay: 'source' | 'target',
): Promise<boolean> {
  return live.drained(async () => {
    for (let index = dirty.next(0); index !== undefined; index = dirty.next(index)) {
      const at = index * live.granuleBytes;
      await copyRange(live.current, target, at, Math.min(live.granuleBytes, live.sizeBytes - at));
      dirty.clear(index);
    }
    await target.flush();
    if (stay === 'target') live.replace(target);
    return true;
  });
}

export interface CommitOptions extends JobOptions {
  /** The image below, writable; the disk's own backing node reads from it. */
  readonly base: BlockNode;
  /** How far down the chain it is; default 1, the next. */
  readonly depth?: number;
  /** As with a mirror. */
  readonly stay?: MirrorOptions['stay'];
}

/**
 * Writes what the top image holds into the one below, and goes on with that after `complete`.
 * What the disk reads as does not change at any moment: the base only gets what the top has already.
 */
export function commitJob(live: LiveNode, { base, ...options }: CommitOptions): Job {
  return mirrorJob(live, { ...options, target: base, sync: 'top' });
}

export interface BackupOptions extends JobOptions {
  readonly target: BlockNode;
  /** `incremental`: what the bitmap says was written. */
  readonly sync?: SyncMode | 'incremental';
  readonly bitmap?: {
    readonly bitmaps: Pick<Bitmaps, 'dirtyRanges' | 'clear' | 'mark'>;
    readonly name: string;
  };
  /** The caller holds the disk drained until `onBegun`, so that several backups are of one moment. */
  readonly isDrained?: boolean;
  /** What is copied is what the disk was before this call. */
  readonly onBegun?: () => void;
}

/**
 * Copies the disk as it is when the job starts, whatever the guest writes afterwards: old content
 * goes to the target before it changes. With `incremental`, the bitmap begins anew at that moment,
 * and gets its bits back when the job does not complete. @throws UserError for a target that does not fit
 */
export function backupJob(live: LiveNode, options: BackupOptions): Job {
  const { target, sync = 'full', bitmap } = options;
  checkTarget(live, target);
  const drained = options.isDrained ? <T>(body: () => Promise<T>) => body() : live.drained;
  if (sync === 'incremental' && bitmap === undefined) throw new UserError('an incremental backup needs a bitmap');
  return startJob(async (control) => {
    const left = granuleMap(live.sizeBytes, live.granuleBytes);
    let ranges: readonly { readonly offset: number; readonly length: number }[] = [];
    let failure: unknown;
    const save = async (index: number) => {
      if (!left.has(index)) return;
      const at = index * live.granuleBytes;
      await copyRange(live.current, target, at, Math.min(live.granuleBytes, live.sizeBytes - at));
      left.clear(index);
    };
    const unwatch = await drained(async () => {
      if (sync === 'incremental') {
        ranges = await bitmap!.bitmaps.dirtyRanges(bitmap!.name);
        await bitmap!.bitmaps.clear(bitmap!.name);
        for (const { offset, length } of ranges) left.set(offset, length);
      } else await markFor(sync === 'none' ? 'full' : sync, live.current, left);
      return live.watch({
        async before(offset, length) {
          if (failure !== undefined) return;
          try {
            const last = Math.floor((offset + length - 1) / live.granuleBytes);
            for (let i = Math.floor(offset / live.granuleBytes); i <= last; i += 1) await save(i);
          } catch (error) {
            // The guest goes on; the backup cannot be had any more.
            failure = error;
          }
        },
      });
    });
    options.onBegun?.();
    control.addTotal(left.count * live.granuleBytes);
    let isComplete = false;
    try {
      if (sync === 'none') await control.cancelled;
      for (let index = left.next(0); index !== undefined; index = left.next(index)) {
        const at = index * live.granuleBytes;
        await control.pass(live.granuleBytes);
        if (failure !== undefined) throw failure;
        await live.hold(at, live.granuleBytes, () => save(index!));
      }
      if (failure !== undefined) throw failure;
      await target.flush();
      isComplete = true;
    } finally {
      await live.drained(async () => {
        unwatch();
        if (!isComplete && sync === 'incremental') await bitmap!.bitmaps.mark(bitmap!.name, ranges);
      });
    }
  }, options);
}
