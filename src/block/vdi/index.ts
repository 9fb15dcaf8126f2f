/** VirtualBox's disk image format, dynamic and static: a map of blocks of 1 MiB. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { CheckResult, Format, ImageNode, OpenOptions } from '../format.ts';
import { u32le, viewOf } from '../layout.ts';
import { addCorruption, checkPlace, growFile, mappedNode, newCheckResult, type Run } from '../mapped.ts';
import { alignUp, readPadded, zeroRange } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import {
  BLOCK_BYTES,
  BLOCKS_MAX,
  DISCARDED,
  headerLayout,
  IMAGE_TYPE,
  isVdi,
  readVdiHeader,
  UNALLOCATED,
  VDI_SIGNATURE,
  VDI_VERSION,
  type VdiHeader,
} from './layout.ts';

export const vdi: Format = {
  name: 'vdi',
  createOptions: [
    { name: 'size', help: 'Virtual disk size' },
    { name: 'static', help: 'VDI static (pre-allocated) image' },
  ],
  probe: (head) => (isVdi(head) ? 100 : 0),
  open: openVdi,
};

export interface VdiCreateOptions {
  readonly sizeBytes: number;
  readonly isStatic?: boolean;
  /** 16 random bytes each, which name the image and its state. */
  readonly imageUuid: Uint8Array;
  readonly snapshotUuid: Uint8Array;
}

/** Writes an empty image to `file`, which must be empty. @throws UserError when the disk would be too large */
export async function createVdi(file: BlockNode, options: VdiCreateOptions): Promise<void> {
  const { sizeBytes, isStatic = false, imageUuid, snapshotUuid } = options;
  const blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
  if (blocks > BLOCKS_MAX)
    throw new UserError(`a VDI disk has at most ${BLOCKS_MAX * BLOCK_BYTES} bytes, not ${sizeBytes}`);
  const text = new Uint8Array(64);
  text.set(encodeUtf8('<<< Vireo VM Virtual Disk Image >>>\n'));
  const header: VdiHeader = {
    text,
    signature: VDI_SIGNATURE,
    version: VDI_VERSION,
    headerBytes: 0x180,
    imageType: isStatic ? IMAGE_TYPE.static : IMAGE_TYPE.dynamic,
    flags: 0,
    description: new Uint8Array(256),
    mapOffset: 512,
    dataOffset: 512 + alignUp(blocks * 4, 512),
    cylinders: 0,
    heads: 0,
    sectors: 0,
    sectorBytes: 512,
    unused: 0,
    diskBytes: sizeBytes,
    blockBytes: BLOCK_BYTES,
    blockExtraBytes: 0,
    blocks,
    blocksAllocated: isStatic ? blocks : 0,
    imageUuid,
    snapshotUuid,
    linkUuid: new Uint8Array(16),
    parentUuid: new Uint8Array(16),
    rest: new Uint8Array(56),
  };
  const map = new Uint8Array(header.dataOffset - header.mapOffset).fill(0, blocks * 4);
  for (let i = 0; i < blocks; i += 1) u32le.put(viewOf(map), i * 4, isStatic ? i : UNALLOCATED);
  await file.write(0, headerLayout.write(header));
  await file.write(header.mapOffset, map);
  if (isStatic) await file.resize?.(header.dataOffset + blocks * BLOCK_BYTES);
  await file.flush();
}

async function openVdi(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name } = options;
  const header = await readVdiHeader(file, name);
  const map = new Uint8Array(header.blocks * 4);
  await readPadded(file, header.mapOffset, map);
  const state: State = { name, file, header, map, view: viewOf(map), dirtySectors: new Set(), nextIndex: 0 };
  state.nextIndex = header.blocksAllocated;
  for (let block = 0; block < header.blocks; block += 1) {
    const entry = state.view.getUint32(block * 4, true);
    if (entry < header.blocks) state.nextIndex = Math.max(state.nextIndex, entry + 1);
  }
  return mappedNode({
    format: 'vdi',
    name,
    sizeBytes: header.diskBytes,
    readOnly: options.readOnly ?? file.readOnly,
    preferredBytes: BLOCK_BYTES,
    info: () => ({ clusterBytes: BLOCK_BYTES }),
    map: {
      unitBytes: 1,
      lookup: (offset, length) => lookup(state, offset, length),
      allocate: (offset, bytes) => allocate(state, offset, bytes),
      commit: () => commit(state),
    },
    files: [file],
    check: async () => checkMap(header, state.view),
  });
}

interface State {
  readonly name: string;
  readonly file: BlockNode;
  readonly header: VdiHeader;
  readonly map: Uint8Array;
  readonly view: DataView;
  /** Of the map, in sectors. */
  readonly dirtySectors: Set<number>;
  /** The place of the next new block: behind all that are counted, and behind all that the map has. */
  nextIndex: number;
}

function lookup({ name, file, header, view }: State, offset: number, length: number): Run {
  const block = Math.floor(offset / BLOCK_BYTES);
  const from = offset - block * BLOCK_BYTES;
  const n = Math.min(length, BLOCK_BYTES - from);
  const entry = view.getUint32(block * 4, true);
  if (entry >= header.blocks) return { kind: 'zero', length: n };
  const at = header.dataOffset + entry * BLOCK_BYTES;
  checkPlace(name, `block ${block}`, at, header.dataOffset, file.sizeBytes);
  const isRaw = header.imageType === IMAGE_TYPE.static ? { isRaw: true as const } : {};
  return { kind: 'data', length: n, file, at: at + from, ...isRaw };
}

async function allocate(state: State, offset: number, bytes: Uint8Array): Promise<void> {
  const { name, file, header, view } = state;
  for (let done = 0; done < bytes.length; ) {
    const block = Math.floor((offset + done) / BLOCK_BYTES);
    const from = offset + done - block * BLOCK_BYTES;
    const part = bytes.subarray(done, done + BLOCK_BYTES - from);
    const index = state.nextIndex;
    if (index >= header.blocks) throw new UserError(`${name}: all its blocks are in use; check it`);
    const place = header.dataOffset + index * BLOCK_BYTES;
    // What lies there is of a block that was never finished.
    await zeroRange(file, place, Math.max(0, Math.min(file.sizeBytes, place + BLOCK_BYTES) - place), true);
    await growFile(file, place + BLOCK_BYTES);
    await file.write(place + from, part);
    state.nextIndex = index + 1;
    header.blocksAllocated = state.nextIndex;
    view.setUint32(block * 4, index, true);
    state.dirtySectors.add(Math.floor((block * 4) / 512));
    done += part.length;
  }
}

/** Brings the count to the file before the map that needs it, and both after the data. */
async function commit({ file, header, map, dirtySectors }: State): Promise<void> {
  if (dirtySectors.size > 0) {
    const count = new Uint8Array(4);
    u32le.put(viewOf(count), 0, header.blocksAllocated);
    await file.write(headerLayout.offsetOf('blocksAllocated'), count);
    await file.flush();
    for (const sector of dirtySectors) {
      await file.write(header.mapOffset + sector * 512, map.subarray(sector * 512, sector * 512 + 512));
    }
    dirtySectors.clear();
  }
  await file.flush();
}

/** Entries beyond what is allocated, and blocks that two entries share. */
function checkMap(header: VdiHeader, map: DataView): CheckResult {
  const result = newCheckResult();
  let used = 0;
  const seen = new Uint8Array(Math.ceil(header.blocks / 8));
  for (let block = 0; block < header.blocks; block += 1) {
    const entry = map.getUint32(block * 4, true);
    if (entry === UNALLOCATED || entry === DISCARDED) continue;
    used += 1;
    if (entry >= header.blocksAllocated) {
      addCorruption(result, `ERROR: block index ${block} out of range, is ${entry}`);
      continue;
    }
    const bit = 1 << (entry & 7);
    if ((seen[entry >> 3] & bit) !== 0) addCorruption(result, `ERROR: block index ${entry} also used twice`);
    seen[entry >> 3] |= bit;
  }
  const { blocksAllocated } = header;
  if (used > blocksAllocated) {
    addCorruption(result, `ERROR: allocated blocks mismatch, is ${used}, should be ${blocksAllocated}`);
  } else if (used < blocksAllocated) {
    // Places are counted before the map has them, so that a loss of power can only waste some.
    result.leaks = blocksAllocated - used;
    result.messages.push(`Leaked ${result.leaks} blocks: ${blocksAllocated} are counted, and the map has ${used}`);
  }
  return result;
}
