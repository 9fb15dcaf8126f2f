/** The disk that a guest writes to while jobs work on it: they can watch changes, hold ranges still, and swap what is below. */
import { IoError } from '../../base/index.ts';
import type { BlockImmediate, BlockNode } from '../../contract/index.ts';
import { rwLock } from '../lock.ts';
import { rangeLock } from '../range-lock.ts';
import { alignDown, alignUp } from '../request.ts';

export interface WriteHook {
  /** Runs before a change, which waits for it; the range, rounded to granules, is held. A rejection fails the change. */
  before?(offset: number, length: number): Promise<void>;
  /** Runs after a change, also after one that failed. */
  after?(offset: number, length: number): void;
}

export interface LiveNode extends BlockNode {
  /** What is below at this time. */
  readonly current: BlockNode;
  readonly granuleBytes: number;
  /** No change of the range is under way while `body` runs. */
  hold<T>(offset: number, length: number, body: () => Promise<T>): Promise<T>;
  /** No request at all is under way while `body` runs. */
  drained<T>(body: () => Promise<T>): Promise<T>;
  /** Watches changes from now on; call it drained. Returns what ends it. */
  watch(hook: WriteHook): () => void;
  /** Puts another node of the same size below; call it drained. The old one is the caller's to close. */
  replace(next: BlockNode): void;
}

export const GRANULE_BYTES = 65536;

/** @param granuleBytes what jobs copy and track at least; a power of two */
export function liveNode(first: BlockNode, granuleBytes = GRANULE_BYTES): LiveNode {
  const gate = rwLock();
  const ranges = rangeLock();
  const hooks = new Set<WriteHook>();
  let current = first;
  const hold = <T>(offset: number, length: number, body: () => Promise<T>) => {
    const from = alignDown(offset, granuleBytes);
    return ranges.hold(from, alignUp(offset + length, granuleBytes) - from, body);
  };
  const change = (offset: number, length: number, body: () => Promise<void>) =>
    gate.shared(() => {
      // Without a job nobody holds ranges: those that begin one drain first.
      if (hooks.size === 0) return body();
      return hold(offset, length, async () => {
        for (const hook of hooks) await hook.before?.(offset, length);
        try {
          await body();
        } finally {
          for (const hook of hooks) hook.after?.(offset, length);
        }
      });
    });
  const node: LiveNode = {
    get current() {
      return current;
    },
    granuleBytes,
    get sizeBytes() {
      return current.sizeBytes;
    },
    get readOnly() {
      return current.readOnly;
    },
    get limits() {
      return current.limits;
    },
    hold,
    drained: (body) => gate.exclusive(body),
    watch(hook) {
      hooks.add(hook);
      return () => hooks.delete(hook);
    },
    replace(next) {
      current = next;
    },
    read: (offset, target) => gate.shared(() => current.read(offset, target)),
    write: (offset, source) => {
      // Jobs count on the size, so that it stays what it is.
      if (offset + source.length > current.sizeBytes) {
        return Promise.reject(new IoError('out-of-range', `the disk ends at ${current.sizeBytes} and does not grow`));
      }
      return change(offset, source.length, () => current.write(offset, source));
    },
    flush: () => gate.shared(() => current.flush()),
    extents: (offset, length) => gate.shared(() => current.extents(offset, length)),
    close: () => gate.exclusive(() => current.close()),
  };
  // Within the call, nothing else can begin: neither a drain nor a job has to be told.
  if (first.immediate !== undefined) {
    const immediate: BlockImmediate = {
      read: (offset, targets) => (gate.isFree ? current.immediate?.read(offset, targets) : undefined) ?? false,
      write: (offset, sources) => {
        const length = sources.reduce((sum, source) => sum + source.length, 0);
        return (
          offset + length <= current.sizeBytes &&
          hooks.size === 0 &&
          gate.isFree &&
          (current.immediate?.write(offset, sources) ?? false)
        );
      },
    };
    Object.assign(node, { immediate });
  }
  if (first.discard !== undefined) {
    node.discard = (offset, length) => change(offset, length, async () => current.discard?.(offset, length));
  }
  if (first.writeZeroes !== undefined) {
    node.writeZeroes = (offset, length, how) =>
      change(offset, length, async () => {
        if (current.writeZeroes !== undefined) return current.writeZeroes(offset, length, how);
        return current.write(offset, new Uint8Array(length));
      });
  }
  return node;
}
