/** Opens VHD images: fixed, dynamic, and differencing ones with their parent. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { CheckResult, ImageInfo, ImageNode, OpenOptions } from '../format.ts';
import { u32be, viewOf } from '../layout.ts';
import { addCorruption, checkPlace, type DiskMap, mappedNode, newCheckResult, type Run } from '../mapped.ts';
import { type MetadataCache, metadataCache } from '../qcow2/metadata-cache.ts';
import { alignUp, zeroRange } from '../request.ts';
import {
  DISK_TYPE,
  dynamicLayout,
  encodeFooter,
  footerLayout,
  LOCATORS,
  locatorLayout,
  readDynamic,
  readFooter,
  sizeOf,
  UNALLOCATED,
  type VhdDynamic,
  type VhdFooter,
} from './layout.ts';
import { parentName } from './locator.ts';

const CACHE_BYTES = 8 * 2 ** 20;

/** Opens the image in `file`. @throws UserError when it is not usable; `file` stays open then */
export async function openVhd(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name } = options;
  const readOnly = options.readOnly ?? file.readOnly;
  const footer = await readFooter(file, name);
  const contentId = hexOf(footer.uuid);
  const common = { format: 'vpc', name, sizeBytes: sizeOf(footer), readOnly, files: [file] };
  if (footer.diskType === DISK_TYPE.fixed) {
    return mappedNode({
      ...common,
      preferredBytes: file.limits.preferredBytes,
      info: () => ({ contentId }),
      map: fixedMap(file, footer, name),
    });
  }
  const dynamic = await readDynamic(file, footer, name);
  const isDifferencing = footer.diskType === DISK_TYPE.differencing;
  const filename = isDifferencing ? await parentName(file, dynamic, name) : undefined;
  const backing = filename === undefined ? undefined : await openParent(filename, dynamic, options);
  try {
    const state = await readState(file, footer, dynamic, options);
    const info: ImageInfo = {
      clusterBytes: dynamic.blockBytes,
      contentId,
      ...(filename === undefined ? {} : { backing: { filename, format: 'vpc' } }),
    };
    return mappedNode({
      ...common,
      preferredBytes: dynamic.blockBytes,
      info: () => info,
      map: dynamicMap(state),
      backing,
      check: async () => checkBlocks(state),
    });
  } catch (error) {
    await backing?.close();
    throw error;
  }
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function openParent(filename: string, { parentUuid }: VhdDynamic, options: OpenOptions) {
  const { name, resolveBacking, withoutBacking = false } = options;
  if (withoutBacking) return undefined;
  if (resolveBacking === undefined)
    throw new UserError(`${name}: it has the backing file ${filename}, and none may be opened`);
  const backing = await resolveBacking({ filename, format: 'vpc' });
  const found = (backing as Partial<ImageNode>).info?.contentId;
  if (found === undefined || found === hexOf(parentUuid)) return backing;
  await backing.close();
  throw new UserError(
    `${name}: its backing file ${filename} is another disk: it has the UUID ${found}, not ${hexOf(parentUuid)}`,
  );
}

/** The whole disk, at the file's beginning. */
function fixedMap(file: BlockNode, footer: VhdFooter, name: string): DiskMap {
  if (sizeOf(footer) + footerLayout.size > file.sizeBytes) {
    throw new UserError(`${name}: not a usable VHD image: the file is shorter than its disk`);
  }
  return {
    unitBytes: 1,
    lookup: (offset, length) => ({ kind: 'data', length, file, at: offset, isRaw: true }),
    allocate: async () => {},
  };
}

interface State {
  readonly name: string;
  readonly file: BlockNode;
  readonly footer: VhdFooter;
  readonly blockBytes: number;
  readonly isDifferencing: boolean;
  readonly tableOffset: number;
  /** The block allocation table, as the file has it. */
  readonly table: Uint8Array;
  readonly view: DataView;
  /** Before each block's data: a bit for each of its sectors, set where the disk has it itself. */
  readonly bitmapBytes: number;
  readonly bitmaps: MetadataCache;
  /** Where nothing of the disk may lie. */
  readonly taken: readonly { readonly offset: number; readonly length: number }[];
  readonly changed: Set<number>;
  /** Behind the last block: where the footer is. */
  end: number;
}

async function readState(
  file: BlockNode,
  footer: VhdFooter,
  dynamic: VhdDynamic,
  options: OpenOptions,
): Promise<State> {
  const { name } = options;
  const { tableOffset, tableEntries, blockBytes } = dynamic;
  const table = new Uint8Array(tableEntries * 4);
  await file.read(tableOffset, table);
  const bitmapBytes = alignUp(Math.ceil(blockBytes / 512 / 8), 512);
  const locators = Array.from({ length: LOCATORS }, (_, i) =>
    locatorLayout.read(dynamic.locators, i * locatorLayout.size),
  );
  const state: State = {
    name,
    file,
    footer,
    blockBytes,
    isDifferencing: footer.diskType === DISK_TYPE.differencing,
    tableOffset,
    table,
    view: viewOf(table),
    bitmapBytes,
    bitmaps: metadataCache(file, bitmapBytes, Math.max(4, Math.floor(CACHE_BYTES / bitmapBytes))),
    taken: [
      { offset: 0, length: footerLayout.size + dynamicLayout.size },
      { offset: tableOffset, length: table.length },
      ...locators.filter(({ code }) => code !== 0),
    ],
    changed: new Set(),
    end: 0,
  };
  for (const { offset, length } of state.taken) {
    if (offset + length <= file.sizeBytes) state.end = Math.max(state.end, alignUp(offset + length, 512));
  }
  for (let block = 0; block < tableEntries; block += 1) {
    const start = startOf(state, block);
    if (start === undefined) continue;
    const overlapped = state.taken.some(
      ({ offset, length }) => start < offset + length && start + bitmapBytes + blockBytes > offset,
    );
    if (start >= file.sizeBytes) {
      if (options.readOnly ?? file.readOnly) continue;
      throw new UserError(
        `${name}: not a usable VHD image: block ${block} lies beyond the end of the file; it can be opened read-only`,
      );
    }
    if (overlapped) throw new UserError(`${name}: not a usable VHD image: block ${block} lies over its metadata`);
    state.end = Math.max(state.end, start + bitmapBytes + blockBytes);
  }
  return state;
}

/** Where a block's bitmap begins, or undefined. */
function startOf({ view }: State, block: number): number | undefined {
  const sector = u32be.get(view, block * 4);
  return sector === UNALLOCATED ? undefined : sector * 512;
}

async function lookup(state: State, offset: number, length: number): Promise<Run> {
  const { blockBytes, bitmapBytes, file, name, isDifferencing } = state;
  const block = Math.floor(offset / blockBytes);
  const from = offset - block * blockBytes;
  const n = Math.min(length, blockBytes - from);
  const start = startOf(state, block);
  if (start === undefined) return { kind: 'hole', length: n };
  checkPlace(name, `block ${block}`, start, 512, file.sizeBytes);
  const at = start + bitmapBytes + from;
  if (!isDifferencing) return { kind: 'data', length: n, file, at };
  const { bytes } = await state.bitmaps.get(start);
  const first = Math.floor(from / 512);
  const isOwn = hasBit(bytes, first);
  let last = first + 1;
  while (last * 512 < from + n && hasBit(bytes, last) === isOwn) last += 1;
  const run = Math.min(n, last * 512 - from);
  return isOwn ? { kind: 'data', length: run, file, at } : { kind: 'hole', length: run };
}

/** The first sector has the highest bit. */
function hasBit(bitmap: Uint8Array, sector: number): boolean {
  return (bitmap[sector >> 3] & (0x80 >> (sector & 7))) !== 0;
}

function dynamicMap(state: State): DiskMap {
  const { blockBytes } = state;
  return {
    unitBytes: state.isDifferencing ? 512 : 1,
    lookup: (offset, length) => lookup(state, offset, length),
    async allocate(offset, bytes) {
      for (let done = 0; done < bytes.length; ) {
        const block = Math.floor((offset + done) / blockBytes);
        const from = offset + done - block * blockBytes;
        const part = bytes.subarray(done, done + blockBytes - from);
        await allocateInBlock(state, block, from, part);
        done += part.length;
      }
    },
    commit: () => commit(state),
    pendingBytes: () => state.bitmaps.dirtyCount * state.bitmapBytes,
  };
}

async function allocateInBlock(state: State, block: number, from: number, part: Uint8Array): Promise<void> {
  const { file, bitmapBytes, isDifferencing } = state;
  const start = startOf(state, block) ?? (await newBlock(state, block));
  await file.write(start + bitmapBytes + from, part);
  if (!isDifferencing) return;
  const page = await state.bitmaps.get(start);
  for (let sector = from / 512; sector * 512 < from + part.length; sector += 1) {
    page.bytes[sector >> 3] |= 0x80 >> (sector & 7);
  }
  state.bitmaps.markDirty(page);
}

/** A block of zeros behind the last one, where the footer was; the footer moves behind it first. */
async function newBlock(state: State, block: number): Promise<number> {
  const { file, footer, bitmapBytes, blockBytes, isDifferencing, name } = state;
  const start = state.end;
  const end = start + bitmapBytes + blockBytes;
  if (start / 512 >= UNALLOCATED) throw new IoError('no-space', `${name}: the file cannot grow beyond 2 TiB`);
  const old = Math.min(file.sizeBytes, end);
  await file.write(end, encodeFooter(footer));
  await file.write(start, new Uint8Array(bitmapBytes).fill(isDifferencing ? 0 : 0xff));
  // Leavings of an earlier end.
  await zeroRange(file, start + bitmapBytes, Math.max(0, old - start - bitmapBytes), true);
  state.bitmaps.drop(start, 1);
  u32be.put(state.view, block * 4, start / 512);
  state.changed.add(block);
  state.end = end;
  return start;
}

/** Data, then the bitmaps that say it is there, then the table. */
async function commit(state: State): Promise<void> {
  const { file, changed, table, tableOffset, bitmaps } = state;
  await file.flush();
  if (bitmaps.dirtyCount > 0) {
    await bitmaps.writeDirty();
    await file.flush();
  }
  if (changed.size === 0) return;
  for (const block of changed) await file.write(tableOffset + block * 4, table.subarray(block * 4, block * 4 + 4));
  changed.clear();
  await file.flush();
}

/** Blocks outside the file, and blocks that overlap. */
function checkBlocks(state: State): CheckResult {
  const { view, file, bitmapBytes, blockBytes } = state;
  const result = newCheckResult();
  const starts: { readonly block: number; readonly start: number }[] = [];
  for (let block = 0; block * 4 < view.byteLength; block += 1) {
    const start = startOf(state, block);
    if (start !== undefined) starts.push({ block, start });
  }
  starts.sort((a, b) => a.start - b.start);
  for (const [i, { block, start }] of starts.entries()) {
    if (start >= file.sizeBytes)
      addCorruption(result, `ERROR: block ${block} lies at ${start}, beyond the end of the file`);
    else if (i > 0 && starts[i - 1].start + bitmapBytes + blockBytes > start)
      addCorruption(result, `ERROR: block ${block} at ${start} overlaps block ${starts[i - 1].block}`);
  }
  return result;
}
