/** Opens VHDX images; changes of the block table go through the log. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { type CheckResult, type ImageNode, type OpenOptions, weakRandom } from '../format.ts';
import { addCorruption, checkPlace, type DiskMap, growFile, mappedNode, newCheckResult, type Run } from '../mapped.ts';
import { type MetadataCache, metadataCache, type Page } from '../qcow2/metadata-cache.ts';
import { alignUp, readPadded } from '../request.ts';
import {
  type CurrentHeader,
  type Disk,
  isVhdx,
  type Region,
  readHeader,
  readMetadata,
  readRegions,
} from './headers.ts';
import {
  BLOCK,
  batEntriesFor,
  chunkRatioOf,
  HEADER_OFFSETS,
  headerLayout,
  MIB,
  SECTOR_BYTES,
  seal,
  type VhdxHeader,
  ZERO_GUID,
} from './layout.ts';
import { applyLog, findLogSequence, isEmptyLog, type LogWriter, logSectorsMax, logWriter, withLog } from './log.ts';

const CACHE_PAGES = 4096;

interface State {
  readonly name: string;
  readonly file: BlockNode;
  readonly disk: Disk;
  readonly bat: Region;
  /** Nothing of the disk lies here. */
  readonly taken: readonly Region[];
  readonly pages: MetadataCache;
  readonly dirty: Map<number, Page>;
  readonly random: (length: number) => Uint8Array;
  readonly chunkRatio: number;
  current: CurrentHeader;
  /** Of this session, once something was logged. */
  log?: LogWriter;
}

/** Opens the image in `file`. @throws UserError when it is not usable; `file` stays open then */
export async function openVhdx(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name } = options;
  const readOnly = options.readOnly ?? file.readOnly;
  const head = new Uint8Array(8);
  await readPadded(file, 0, head);
  if (!isVhdx(head)) throw new UserError(`${name}: not a usable VHDX image: its signature is wrong`);
  let current = await readHeader(file, name);
  let node = file;
  let wasReplayed = false;
  if (!isEmptyLog(current.header)) {
    const sequence = await findLogSequence(file, current.header, name);
    if (sequence !== undefined && file.sizeBytes < sequence.flushedBytes)
      throw new UserError(
        `${name}: the file was cut: it has ${file.sizeBytes} bytes, and had ${sequence.flushedBytes}`,
      );
    if (sequence !== undefined && readOnly) node = withLog(file, sequence);
    if (!readOnly) {
      if (sequence !== undefined) await applyLog(file, sequence);
      current = await writeHeader(file, current, { logGuid: ZERO_GUID });
      wasReplayed = sequence !== undefined;
    }
  }
  const regions = await readRegions(node, current.header, name);
  const disk = await readMetadata(node, regions, name);
  const { logOffset, logBytes } = current.header;
  const state: State = {
    name,
    file: node,
    disk,
    bat: regions.bat,
    taken: [regions.bat, regions.metadata, { offset: logOffset, length: logBytes }, { offset: 0, length: MIB }],
    pages: metadataCache(node, SECTOR_BYTES, CACHE_PAGES),
    dirty: new Map(),
    random: options.random ?? weakRandom,
    chunkRatio: chunkRatioOf(disk.blockBytes, disk.sectorBytes),
    current,
  };
  return mappedNode({
    format: 'vhdx',
    name,
    sizeBytes: disk.sizeBytes,
    readOnly,
    preferredBytes: disk.blockBytes,
    info: () => ({ clusterBytes: disk.blockBytes }),
    map: mapOf(state),
    files: [node],
    async check() {
      const result = await checkBlocks(state);
      if (wasReplayed) result.corruptionsFixed += 1;
      return result;
    },
    async finish() {
      if (state.log !== undefined) state.current = await writeHeader(file, state.current, { logGuid: ZERO_GUID });
    },
  });
}

/** Writes the header that is not in use, with changes and a higher number: from then on it is in use. */
async function writeHeader(
  file: BlockNode,
  { header, index }: CurrentHeader,
  changes: Partial<VhdxHeader>,
): Promise<CurrentHeader> {
  const next = {
    header: { ...header, ...changes, sequence: header.sequence + 1 },
    index: index === 0 ? 1 : 0,
  } as const;
  await file.write(HEADER_OFFSETS[next.index], seal(headerLayout.write(next.header)));
  await file.flush();
  return next;
}

function pageFor(state: State, block: number): { at: number; page: Page | Promise<Page> } {
  const entry = (block + Math.floor(block / state.chunkRatio)) * 8;
  return { at: entry % SECTOR_BYTES, page: state.pages.get(state.bat.offset + entry - (entry % SECTOR_BYTES)) };
}

/** The state of a block and its place: the offset takes all bits but the lowest 20. */
function entryOf(view: DataView, at: number): { state: number; place: number } {
  const low = view.getUint32(at, true);
  return { state: low & 7, place: view.getUint32(at + 4, true) * 2 ** 32 + Math.floor(low / MIB) * MIB };
}

function placeOf({ name, taken, disk, file }: State, block: number, place: number): number {
  const overlapped = taken.find(({ offset, length }) => place < offset + length && place + disk.blockBytes > offset);
  if (overlapped !== undefined)
    throw new IoError('io', `${name}: the image is corrupt: block ${block} lies at ${place}, over its metadata`);
  checkPlace(name, `block ${block}`, place, MIB, file.sizeBytes);
  return place;
}

async function lookup(state: State, offset: number, length: number): Promise<Run> {
  const { blockBytes } = state.disk;
  const block = Math.floor(offset / blockBytes);
  const from = offset - block * blockBytes;
  const n = Math.min(length, blockBytes - from);
  const { at, page } = pageFor(state, block);
  const entry = entryOf((page instanceof Promise ? await page : page).view, at);
  switch (entry.state) {
    case BLOCK.present:
      return { kind: 'data', length: n, file: state.file, at: placeOf(state, block, entry.place) + from };
    case BLOCK.zero:
    case BLOCK.unmapped:
      return { kind: 'zero', length: n };
    case BLOCK.absent:
    case BLOCK.undefined:
    case 5: // What the format's draft had for unmapped blocks.
      return { kind: 'hole', length: n };
    default:
      throw new IoError('io', `${state.name}: the image is corrupt: block ${block} has the state ${entry.state}`);
  }
}

function mapOf(state: State): DiskMap {
  const { disk, file } = state;
  return {
    unitBytes: 1,
    lookup: (offset, length) => lookup(state, offset, length),
    async allocate(offset, bytes) {
      for (let done = 0; done < bytes.length; ) {
        const block = Math.floor((offset + done) / disk.blockBytes);
        const from = offset + done - block * disk.blockBytes;
        const part = bytes.subarray(done, done + disk.blockBytes - from);
        await allocateBlock(state, block, from, part);
        done += part.length;
      }
    },
    async prepare() {
      const guids = { fileWriteGuid: state.random(16), dataWriteGuid: state.random(16) };
      state.current = await writeHeader(file, state.current, guids);
    },
    commit: () => commit(state),
  };
}

/** New blocks begin at the file's end, where everything is zeros. */
async function allocateBlock(state: State, block: number, from: number, part: Uint8Array): Promise<void> {
  const { file, disk } = state;
  const place = alignUp(file.sizeBytes, MIB);
  if (place + disk.blockBytes > 2 ** 53) throw new IoError('no-space', `${state.name}: the file cannot grow further`);
  await growFile(file, place + disk.blockBytes);
  await file.write(place + from, part);
  const { at, page: found } = pageFor(state, block);
  const page = await found;
  page.view.setUint32(at, (place % 2 ** 32) + BLOCK.present, true);
  page.view.setUint32(at + 4, Math.floor(place / 2 ** 32), true);
  state.pages.markDirty(page);
  state.dirty.set(page.offset, page);
  if (state.dirty.size >= logSectorsMax(state.current.header.logBytes)) await commit(state);
}

/**
 * Data first; then an entry of the log with the changed pages of the table, and
 * the header that makes this log count; then the pages in their places.
 */
async function commit(state: State): Promise<void> {
  const { file, dirty, pages } = state;
  await file.flush();
  if (dirty.size === 0) return;
  const isFirst = state.log === undefined;
  const guid = state.random(16);
  state.log ??= logWriter(file, state.current.header, guid);
  await state.log.append([...dirty.values()]);
  await file.flush();
  if (isFirst) state.current = await writeHeader(file, state.current, { logGuid: guid });
  // Flushed with what comes next; until then the log has them.
  await pages.writeDirty();
  dirty.clear();
}

const FILE_MIB_MAX = 2 ** 30;

/** Blocks with places that cannot be, and blocks that share one. */
async function checkBlocks(state: State): Promise<CheckResult> {
  const { disk, file, bat } = state;
  const result = newCheckResult();
  const used = new Uint8Array(Math.ceil(Math.min(file.sizeBytes / MIB + 256, FILE_MIB_MAX) / 8));
  const entries = batEntriesFor(disk.sizeBytes, disk.blockBytes, disk.sectorBytes);
  for (let index = 0; index < entries; index += 1) {
    if ((index + 1) % (state.chunkRatio + 1) === 0) continue;
    const page = await state.pages.get(bat.offset + index * 8 - ((index * 8) % SECTOR_BYTES));
    const entry = entryOf(page.view, (index * 8) % SECTOR_BYTES);
    const block = index - Math.floor(index / (state.chunkRatio + 1));
    try {
      const run = await lookup(state, block * disk.blockBytes, 1);
      if (run.kind !== 'data') continue;
    } catch (error) {
      addCorruption(result, `ERROR: ${error instanceof Error ? error.message : error}`);
      continue;
    }
    for (let at = entry.place / MIB; at < (entry.place + disk.blockBytes) / MIB && at < used.length * 8; at += 1) {
      if ((used[at >> 3] & (1 << (at & 7))) !== 0) {
        addCorruption(result, `ERROR: block ${block} at ${entry.place} overlaps another one`);
        break;
      }
      used[at >> 3] |= 1 << (at & 7);
    }
  }
  return result;
}
