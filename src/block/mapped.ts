/**
 * A disk that is a map: each format says where a run of the disk lies and gives
 * new runs their place; reading, writing, zeros and extents are the same for all.
 */
import { IoError } from '../base/index.ts';
import type { BlockExtent, BlockNode } from '../contract/index.ts';
import { appendExtent } from './extents.ts';
import type { CheckResult, ImageInfo, ImageNode } from './format.ts';
import { rwLock } from './lock.ts';
import { alignDown, alignUp, checkRange, checkWritable, readPadded, zeroRange } from './request.ts';

/** What a part of the disk is; `length` is at most what was asked for. */
export type Run =
  /** Bytes as they are, at `at` of `file`; with `isRaw`, holes of that file are known to be zeros. */
  | {
      readonly kind: 'data';
      readonly length: number;
      readonly file: BlockNode;
      readonly at: number;
      readonly isRaw?: true;
    }
  | { readonly kind: 'zero'; readonly length: number }
  /** Nothing is stored: the backing file's, or zeros. */
  | { readonly kind: 'hole'; readonly length: number }
  /** A compressed piece of the disk that begins at `start`; the run begins somewhere inside. */
  | {
      readonly kind: 'packed';
      readonly length: number;
      readonly start: number;
      readonly unpack: () => Promise<Uint8Array>;
    };

export interface DiskMap {
  /** What is given its place at once: `allocate` and `zero` are only asked for multiples of it. A power of two. */
  readonly unitBytes: number;
  lookup(offset: number, length: number): Run | Promise<Run>;
  /**
   * Stores units whose run is not `data`. At the end of the disk, `bytes` may go beyond it.
   * Nothing else runs meanwhile. Absent: the format is for reading only.
   */
  allocate?(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes whole units zeros that take no space. */
  zero?(offset: number, length: number): Promise<void>;
  /** Called once, before the first change. */
  prepare?(): Promise<void>;
  /** Makes everything so far survive a loss of power: data first, then what points to it. */
  commit?(): Promise<void>;
  /** Changed metadata that waits in memory for a commit: with too much of it, one comes by itself. */
  pendingBytes?(): number;
}

export interface MappedNodeOptions {
  readonly format: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly preferredBytes: number;
  readonly info: () => ImageInfo;
  readonly map: DiskMap;
  readonly backing?: BlockNode | undefined;
  /** Closed with the node, after the backing file. */
  readonly files: readonly BlockNode[];
  readonly check?: () => Promise<CheckResult>;
  /** For images of compressed units: what `writeCompressed` does, in the order of its calls. */
  readonly packed?: {
    pack(offset: number, bytes: Uint8Array): Promise<Uint8Array>;
    store(offset: number, stored: Uint8Array): Promise<void>;
  };
  /** Before the files are closed, of an image open for writing: marks it as closed. */
  readonly finish?: () => Promise<void>;
}

/** Lookups that one request for extents makes, at most. */
const LOOKUPS_MAX = 65_536;
const EXTENTS_MAX = 1024;
const PENDING_MAX_BYTES = 32 * 2 ** 20;

export function mappedNode(options: MappedNodeOptions): ImageNode {
  const { name, sizeBytes, readOnly, map, backing, files } = options;
  const { unitBytes } = map;
  const lock = rwLock();
  let unpacked: { readonly start: number; readonly bytes: Uint8Array } | undefined;
  let isPrepared = false;

  const contentOf = async (run: Run & { kind: 'packed' }): Promise<Uint8Array> => {
    if (unpacked?.start !== run.start) unpacked = { start: run.start, bytes: await run.unpack() };
    return unpacked.bytes;
  };
  /** The run at `offset`, joined with those after it that lie right behind it. */
  const runAt = async (offset: number, length: number): Promise<Run> => {
    let run = await map.lookup(offset, length);
    while (run.kind === 'data' && run.length < length) {
      const next: Run = await map.lookup(offset + run.length, length - run.length);
      const joins = next.kind === 'data' && next.file === run.file && next.at === run.at + run.length;
      if (!joins) break;
      run = { ...run, length: run.length + next.length };
    }
    return run;
  };
  const readRange = async (offset: number, target: Uint8Array): Promise<void> => {
    for (let done = 0; done < target.length; ) {
      const run = await runAt(offset + done, target.length - done);
      const part = target.subarray(done, done + run.length);
      if (run.kind === 'data') await readPadded(run.file, run.at, part);
      else if (run.kind === 'hole' && backing !== undefined) await readPadded(backing, offset + done, part);
      else if (run.kind === 'packed') {
        const from = offset + done - run.start;
        part.set((await contentOf(run)).subarray(from, from + run.length));
      } else part.fill(0);
      done += run.length;
    }
  };
  /** Gives a range its place; units that it only touches keep the rest of their content. */
  const place = async (offset: number, source: Uint8Array): Promise<void> => {
    for (let done = 0; done < source.length; ) {
      const at = offset + done;
      const start = alignDown(at, unitBytes);
      const whole = at === start ? alignDown(source.length - done, unitBytes) : 0;
      if (whole > 0) {
        await map.allocate!(at, source.subarray(done, done + whole));
        done += whole;
        continue;
      }
      const unit = new Uint8Array(unitBytes);
      await readRange(start, unit.subarray(0, Math.min(unitBytes, sizeBytes - start)));
      const part = source.subarray(done, done + unitBytes - (at - start));
      unit.set(part, at - start);
      await map.allocate!(start, unit);
      done += part.length;
    }
  };
  const begin = async (): Promise<void> => {
    unpacked = undefined;
    if (isPrepared) return;
    await map.prepare?.();
    isPrepared = true;
  };
  const writeRange = async (offset: number, source: Uint8Array): Promise<void> => {
    for (let done = 0; done < source.length; ) {
      let run = await runAt(offset + done, source.length - done);
      if (run.kind === 'data') {
        await run.file.write(run.at, source.subarray(done, done + run.length));
        done += run.length;
        continue;
      }
      // Whatever of this range has no place yet is given one in one go.
      let length = 0;
      while (run.kind !== 'data') {
        length += run.length;
        if (done + length >= source.length) break;
        run = await map.lookup(offset + done + length, source.length - done - length);
      }
      await place(offset + done, source.subarray(done, done + length));
      done += length;
    }
  };
  const zeroWithin = async (offset: number, length: number, mayUnmap: boolean): Promise<void> => {
    for (let done = 0; done < length; ) {
      const at = offset + done;
      if (map.zero !== undefined) {
        const isLast = offset + length === sizeBytes;
        const end = isLast ? alignUp(offset + length, unitBytes) : alignDown(offset + length, unitBytes);
        if (at % unitBytes === 0 && end > at) {
          await map.zero(at, end - at);
          done = Math.min(length, end - offset);
          continue;
        }
      }
      const toUnit = map.zero === undefined || at % unitBytes === 0 ? length - done : unitBytes - (at % unitBytes);
      const run = await runAt(at, Math.min(length - done, toUnit));
      if (run.kind === 'data') await zeroRange(run.file, run.at, run.length, mayUnmap);
      else if (run.kind === 'packed' || (run.kind === 'hole' && backing !== undefined)) {
        const n = Math.min(run.length, Math.max(unitBytes, 2 ** 20));
        await place(at, new Uint8Array(n));
        done += n;
        continue;
      }
      done += run.length;
    }
  };
  const commit = async (): Promise<void> => {
    if (map.commit !== undefined) return map.commit();
    for (const file of files) if (!file.readOnly) await file.flush();
  };
  const changes = (offset: number, length: number) => {
    checkWritable(name, readOnly || map.allocate === undefined);
    checkRange(name, sizeBytes, offset, length);
  };
  const { packed } = options;
  let stored = Promise.resolve();
  const writeCompressed = async (offset: number, source: Uint8Array): Promise<void> => {
    changes(offset, source.length);
    if (offset % unitBytes !== 0 || source.length !== Math.min(unitBytes, sizeBytes - offset)) {
      throw new IoError('io', `${name}: a compressed write is one whole cluster of ${unitBytes} bytes`);
    }
    const before = stored;
    const pack = packed!.pack(offset, source);
    const own = (async () => {
      const bytes = await pack;
      await before;
      await lock.exclusive(async () => {
        await begin();
        await packed!.store(offset, bytes);
        if ((map.pendingBytes?.() ?? 0) > PENDING_MAX_BYTES) await commit();
      });
    })();
    // The next one waits for this one, and fails for itself.
    stored = own.catch(() => {});
    return own;
  };
  return {
    format: options.format,
    get info() {
      return options.info();
    },
    sizeBytes,
    readOnly: readOnly || map.allocate === undefined,
    limits: { alignmentBytes: 1, preferredBytes: options.preferredBytes },
    ...(backing === undefined ? {} : { backing }),
    async read(offset, target) {
      checkRange(name, sizeBytes, offset, target.length);
      await lock.shared(() => readRange(offset, target));
    },
    async write(offset, source) {
      changes(offset, source.length);
      await lock.exclusive(async () => {
        await begin();
        await writeRange(offset, source);
        if ((map.pendingBytes?.() ?? 0) > PENDING_MAX_BYTES) await commit();
      });
    },
    async writeZeroes(offset, length, { mayUnmap = false } = {}) {
      changes(offset, length);
      await lock.exclusive(async () => {
        await begin();
        await zeroWithin(offset, length, mayUnmap);
      });
    },
    ...(packed === undefined || readOnly ? {} : { writeCompressed }),
    async flush() {
      if (!readOnly) await lock.exclusive(commit);
    },
    async extents(offset, length) {
      checkRange(name, sizeBytes, offset, length);
      return lock.shared(() => extentsOf(map, backing, offset, length));
    },
    ...(options.check === undefined ? {} : { check: () => lock.exclusive(options.check!) }),
    async close() {
      if (!readOnly) {
        await lock.exclusive(commit);
        if (isPrepared) await options.finish?.();
      }
      await backing?.close();
      for (const file of files) await file.close();
    },
  };
}

async function extentsOf(
  map: DiskMap,
  backing: BlockNode | undefined,
  offset: number,
  length: number,
): Promise<BlockExtent[]> {
  const extents: BlockExtent[] = [];
  let done = 0;
  for (let lookups = 0; done < length && lookups < LOOKUPS_MAX && extents.length < EXTENTS_MAX; lookups += 1) {
    const at = offset + done;
    const run = await map.lookup(at, length - done);
    if (run.kind === 'data' && run.isRaw === true) {
      const available = Math.min(run.length, run.file.sizeBytes - run.at);
      if (available > 0) {
        const found = await run.file.extents(run.at, available);
        for (const one of found) appendExtent(extents, { ...one, data: true, offset: at + one.offset - run.at });
        done = extents[extents.length - 1].offset + extents[extents.length - 1].length - offset;
        continue;
      }
    }
    appendExtent(extents, extentOf(run, at, backing));
    done += run.length;
  }
  return extents;
}

function extentOf(run: Run, offset: number, backing: BlockNode | undefined): BlockExtent {
  const { kind, length } = run;
  const allocated = kind !== 'hole';
  return {
    offset,
    length,
    allocated,
    zero: kind === 'zero' || (!allocated && (backing === undefined || offset >= backing.sizeBytes)),
    data: kind === 'data' || kind === 'packed',
    ...(kind === 'data' ? { childOffset: run.at } : {}),
    ...(kind === 'packed' ? { compressed: true } : {}),
  };
}

/** A check that has found nothing yet. */
export function newCheckResult(): CheckResult {
  return {
    corruptions: 0,
    leaks: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    checkErrors: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
    imageEndOffset: 0,
    messages: [],
  };
}

const MESSAGES_MAX = 1000;

export function addCorruption(result: CheckResult, message: string): void {
  result.corruptions += 1;
  if (result.messages.length < MESSAGES_MAX) result.messages.push(message);
}

/** Refuses a place that is not inside the file: an image's own tables must not make it grow or read beyond itself. */
export function checkPlace(name: string, what: string, at: number, lowest: number, end: number): void {
  if (at >= lowest && at < end) return;
  const where = at < lowest ? 'over its metadata' : 'beyond the end of the file';
  throw new IoError('io', `${name}: the image is corrupt: ${what} lies at ${at}, ${where}`);
}

/** Makes the file longer; what is new are zeros. */
export async function growFile(file: BlockNode, sizeBytes: number): Promise<void> {
  if (sizeBytes <= file.sizeBytes) return;
  if (file.resize !== undefined) await file.resize(sizeBytes);
  else await file.write(sizeBytes - 1, new Uint8Array(1));
}
