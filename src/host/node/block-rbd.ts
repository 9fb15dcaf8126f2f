/** Images in a Ceph cluster (RBD) as block nodes, by librbd where it is installed; each has a thread of its own. */
import { Worker } from 'node:worker_threads';
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';

export interface RbdPlace {
  /** How messages call it. */
  readonly name: string;
  readonly pool: string;
  readonly namespace?: string | undefined;
  readonly image: string;
  readonly snapshot?: string | undefined;
  /** The configuration file; without it, where librados looks for one. */
  readonly conf?: string | undefined;
  /** Without `client.`; default `admin`. */
  readonly user?: string | undefined;
}

export interface RbdNodeOptions extends RbdPlace {
  /** A snapshot can only be opened so. */
  readonly readOnly: boolean;
  /** Past librbd's cache. */
  readonly direct?: boolean;
  /** Flushes do nothing. */
  readonly noFlush?: boolean;
  /** Each write is flushed before it is acknowledged. */
  readonly writeThrough?: boolean;
  /** Paths or names of the shared libraries, if not the usual ones. */
  readonly libraries?: RbdLibraries;
}

export interface RbdLibraries {
  readonly rados: string;
  readonly rbd: string;
}

const LIBRARIES: RbdLibraries = { rados: 'librados.so.2', rbd: 'librbd.so.1' };

/** What the thread is started with. */
export interface RbdImageOptions extends RbdPlace {
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly libraries: RbdLibraries;
  /** Make the image with this size instead of opening it. */
  readonly createBytes?: number;
}

export type RbdTask =
  | { readonly kind: 'read' | 'discard'; readonly offset: number; readonly length: number }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly mayUnmap: boolean }
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'resize'; readonly sizeBytes: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'close' };

/** The first is `opened` or `refused`; then there is one for each task, in order. */
export type RbdAnswer =
  | { readonly opened: number; readonly writesZeroes: boolean }
  | { readonly refused: string }
  | RbdDone;

interface RbdDone {
  /** What the call returned. */
  readonly done: number;
  readonly bytes?: Uint8Array<ArrayBuffer> | undefined;
  readonly failure?: { readonly reason: string; readonly errno: number } | undefined;
}

/** Bytes that go to the thread at once. */
const TRANSFER_BYTES = 4 * 2 ** 20;
/** A multiple of every object size; librbd takes lengths below 2 GiB. */
const RANGE_BYTES = 2 ** 30;
/** ENOSPC, EFBIG, EDQUOT */
const NO_SPACE: readonly number[] = [28, 27, 122];

/** @throws UserError that names the image, and the package where librbd is missing */
export async function openRbdNode(options: RbdNodeOptions): Promise<BlockNode> {
  const { name, readOnly, snapshot, direct = false, libraries = LIBRARIES } = options;
  if (snapshot !== undefined && !readOnly) {
    throw new UserError(`Could not open '${name}': snapshots of rbd images can only be read`);
  }
  const place = placeOf(options);
  const { thread, opened, writesZeroes } = await startThread({ ...place, readOnly, direct, libraries }, 'open');
  return rbdNode(thread, opened, writesZeroes, options);
}

/** Makes an image. @throws UserError, also when there is one of that name already */
export async function createRbdImage(
  place: RbdPlace,
  sizeBytes: number,
  libraries: RbdLibraries = LIBRARIES,
): Promise<void> {
  if (place.snapshot !== undefined) throw new UserError(`Could not create '${place.name}': a snapshot is no image`);
  const how = { readOnly: false, direct: false, libraries, createBytes: sizeBytes };
  await startThread({ ...placeOf(place), ...how }, 'create');
}

/** Only what the thread needs. @throws UserError for texts that C cannot take */
function placeOf({ name, pool, namespace, image, snapshot, conf, user }: RbdPlace): RbdPlace {
  const place = { name, pool, namespace, image, snapshot, conf, user };
  for (const [key, value] of Object.entries(place)) {
    if (value?.includes('\0')) throw new UserError(`${JSON.stringify(name)}: ${key} has a NUL in it`);
  }
  return place;
}

interface RbdThread {
  run(task: RbdTask): Promise<RbdDone>;
}

async function startThread(options: RbdImageOptions, what: 'open' | 'create') {
  const entry = `./block-rbd-thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`;
  const worker = new Worker(new URL(entry, import.meta.url), { workerData: options });
  const pending: PromiseWithResolvers<RbdAnswer>[] = [];
  let ended: string | undefined;
  const wait = (): Promise<RbdAnswer> => {
    if (ended !== undefined) return Promise.reject(new IoError('io', `${options.name}: ${ended}`));
    const waiter = Promise.withResolvers<RbdAnswer>();
    if (pending.push(waiter) === 1) worker.ref();
    return waiter.promise;
  };
  const end = (reason: string) => {
    ended ??= reason;
    for (const { reject } of pending.splice(0)) reject(new IoError('io', `${options.name}: ${ended}`));
  };
  worker.on('message', (answer: RbdAnswer) => {
    pending.shift()?.resolve(answer);
    // The process may end while nothing is asked for.
    if (pending.length === 0) worker.unref();
  });
  worker.on('error', (error) => end(`its thread failed: ${error instanceof Error ? error.message : String(error)}`));
  worker.on('exit', () => end('its thread has ended'));
  const first = await wait();
  if ('refused' in first) throw new UserError(`Could not ${what} '${options.name}': ${first.refused}`);
  const thread: RbdThread = {
    async run(task) {
      const answer = wait();
      if (ended === undefined) worker.postMessage(task, task.kind === 'write' ? [task.bytes.buffer] : []);
      return (await answer) as RbdDone;
    },
  };
  return { thread, ...(first as { opened: number; writesZeroes: boolean }) };
}

function rbdNode(thread: RbdThread, sizeBytes: number, writesZeroes: boolean, options: RbdNodeOptions): BlockNode {
  const { name, readOnly, noFlush = false, writeThrough = false } = options;
  let size = sizeBytes;
  /** The last change of the size; the thread takes tasks in order, so that growing never follows a later shrinking. */
  let resizing: Promise<void> = Promise.resolve();
  const run = async (what: string, task: RbdTask): Promise<RbdDone> => {
    const answer = await thread.run(task);
    const { failure } = answer;
    if (failure === undefined) return answer;
    const code = NO_SPACE.includes(failure.errno) ? 'no-space' : 'io';
    throw new IoError(code, `${name}: cannot ${what}: ${failure.reason}`);
  };
  const check = (offset: number, length: number, end = size) => {
    if (Number.isSafeInteger(offset) && offset >= 0 && length >= 0 && offset + length <= end) return;
    throw new IoError('out-of-range', `${name}: ${length} bytes at ${offset} do not lie inside its ${size} bytes`);
  };
  const checkWritable = () => {
    if (readOnly) throw new IoError('read-only', `${name}: it is open for reading only`);
  };
  const pieces = async (length: number, most: number, each: (at: number, count: number) => Promise<unknown>) => {
    for (let at = 0; at < length; at += most) await each(at, Math.min(most, length - at));
  };
  const flush = async () => {
    if (!readOnly && !noFlush) await run('flush', { kind: 'flush' });
  };
  /** Sizes change one after the other. `wanted` is asked for when it is its turn. */
  const setSize = (wanted: () => number): Promise<void> => {
    const change = resizing.then(async () => {
      const target = wanted();
      if (target === size) return;
      await run('resize', { kind: 'resize', sizeBytes: target });
      size = target;
    });
    resizing = change.catch(() => {});
    return change;
  };
  const changed = async () => {
    if (writeThrough) await flush();
  };
  const node: BlockNode = {
    get sizeBytes() {
      return size;
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: 65_536 },
    async read(offset, target) {
      check(offset, target.length);
      await pieces(target.length, TRANSFER_BYTES, async (at, length) => {
        const { done, bytes } = await run('read', { kind: 'read', offset: offset + at, length });
        if (done < length) throw new IoError('io', `${name}: cannot read: the image ends at ${offset + at + done}`);
        target.set(bytes!, at);
      });
    },
    async write(offset, source) {
      checkWritable();
      const end = offset + source.length;
      check(offset, source.length, Number.MAX_SAFE_INTEGER);
      if (end > size) await setSize(() => Math.max(size, end));
      await pieces(source.length, TRANSFER_BYTES, (at, length) =>
        run('write', { kind: 'write', offset: offset + at, bytes: new Uint8Array(source.subarray(at, at + length)) }),
      );
      await changed();
    },
    flush,
    async extents(offset, length) {
      check(offset, length);
      return [{ offset, length, allocated: true, zero: false, data: true, childOffset: offset }];
    },
    async discard(offset, length) {
      checkWritable();
      check(offset, length);
      await pieces(length, RANGE_BYTES, (at, count) =>
        run('discard', { kind: 'discard', offset: offset + at, length: count }),
      );
    },
    async resize(wanted) {
      checkWritable();
      check(wanted, 0, Number.MAX_SAFE_INTEGER);
      await setSize(() => wanted);
    },
    async close() {
      try {
        await flush();
      } finally {
        await run('close', { kind: 'close' });
      }
    },
  };
  if (writesZeroes) {
    node.writeZeroes = async (offset, length, { mayUnmap = false } = {}) => {
      checkWritable();
      check(offset, length);
      await pieces(length, RANGE_BYTES, (at, count) =>
        run('write zeros', { kind: 'zero', offset: offset + at, length: count, mayUnmap }),
      );
      await changed();
    };
  }
  return node;
}
