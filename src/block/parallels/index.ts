/** The Parallels format, expandable disks (QEMU, docs/interop/parallels.txt), little-endian. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { CheckResult, Format, ImageNode, OpenOptions } from '../format.ts';
import { bytesOf, joinBytes, type LayoutOf, layout, u32le, u64le, viewOf } from '../layout.ts';
import { addCorruption, checkPlace, growFile, mappedNode, newCheckResult, type Run } from '../mapped.ts';
import { alignUp, readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';

const headerLayout = layout({
  magic: bytesOf(16),
  version: u32le,
  heads: u32le,
  cylinders: u32le,
  clusterSectors: u32le,
  batEntries: u32le,
  diskSectors: u64le,
  inUse: u32le,
  dataSector: u32le,
  flags: u32le,
  extensionSector: u64le,
});
type ParallelsHeader = LayoutOf<typeof headerLayout>;

/** With the first, the table counts sectors; with the second, clusters. */
const MAGIC = { sectors: 'WithoutFreeSpace', clusters: 'WithouFreSpacExt' } as const;
const VERSION = 2;
/** "Ynot": somebody has the image open for writing, or did not close it. */
const IN_USE = 0x746f6e59;
const SECTOR_BYTES = 512;
const BAT_MAX_ENTRIES = 2 ** 24;
const CLUSTER_SECTORS_MAX = 2 ** 21;

export const parallels: Format = {
  name: 'parallels',
  createOptions: [
    { name: 'cluster_size', help: 'Parallels image cluster size' },
    { name: 'size', help: 'Virtual disk size' },
  ],
  probe(head) {
    const magic = decodeUtf8(head.subarray(0, 16));
    return magic === MAGIC.sectors || magic === MAGIC.clusters ? 100 : 0;
  },
  open: openParallels,
};

export interface ParallelsCreateOptions {
  readonly sizeBytes: number;
  readonly clusterBytes?: number;
}

/** Writes an empty image to `file`, which must be empty. @throws UserError that names the option */
export async function createParallels(file: BlockNode, options: ParallelsCreateOptions): Promise<void> {
  const { sizeBytes, clusterBytes = 2 ** 20 } = options;
  const clusterSectors = clusterBytes / SECTOR_BYTES;
  if (!Number.isInteger(clusterSectors) || clusterSectors < 1 || clusterSectors > CLUSTER_SECTORS_MAX)
    throw new UserError(`cluster_size must be whole sectors up to 1 GiB, not ${clusterBytes} bytes`);
  const batEntries = Math.ceil(sizeBytes / clusterBytes);
  if (batEntries > BAT_MAX_ENTRIES)
    throw new UserError(`a Parallels disk has at most ${BAT_MAX_ENTRIES * clusterBytes} bytes, not ${sizeBytes}`);
  const dataOffset = alignUp(headerLayout.size + batEntries * 4, clusterBytes);
  const header: ParallelsHeader = {
    magic: encodeUtf8(MAGIC.clusters),
    version: VERSION,
    heads: 16,
    cylinders: Math.ceil(sizeBytes / SECTOR_BYTES / (16 * 32)),
    clusterSectors,
    batEntries,
    diskSectors: Math.ceil(sizeBytes / SECTOR_BYTES),
    inUse: 0,
    dataSector: dataOffset / SECTOR_BYTES,
    flags: 0,
    extensionSector: 0,
  };
  await file.write(0, joinBytes([headerLayout.write(header)], Math.min(dataOffset, SECTOR_BYTES)));
  await growFile(file, dataOffset);
  await file.flush();
}

interface State {
  readonly name: string;
  readonly file: BlockNode;
  readonly header: ParallelsHeader;
  readonly clusterBytes: number;
  /** Bytes that the table's numbers count. */
  readonly entryBytes: number;
  readonly dataOffset: number;
  readonly bat: DataView;
  readonly changed: Set<number>;
}

async function openParallels(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name, forCheck = false } = options;
  const readOnly = options.readOnly ?? file.readOnly;
  const header = await readHeader(file, name);
  const bat = new Uint8Array(header.batEntries * 4);
  await file.read(headerLayout.size, bat);
  const isByCluster = decodeUtf8(header.magic) === MAGIC.clusters;
  const clusterBytes = header.clusterSectors * SECTOR_BYTES;
  const batEnd = alignUp(headerLayout.size + bat.length, SECTOR_BYTES);
  const state: State = {
    name,
    file,
    header,
    clusterBytes,
    entryBytes: isByCluster ? clusterBytes : SECTOR_BYTES,
    dataOffset: Math.max(batEnd, header.dataSector * SECTOR_BYTES),
    bat: viewOf(bat),
    changed: new Set(),
  };
  if (!readOnly && header.inUse === IN_USE && !forCheck) {
    const { corruptions } = check(state);
    if (corruptions > 0)
      throw new UserError(`${name}: it was not closed, and is broken: it can only be opened read-only`);
  }
  const setInUse = async (value: number) => {
    const bytes = new Uint8Array(4);
    u32le.put(viewOf(bytes), 0, value);
    await file.write(headerLayout.offsetOf('inUse'), bytes);
    await file.flush();
  };
  return mappedNode({
    format: 'parallels',
    name,
    sizeBytes: header.diskSectors * SECTOR_BYTES,
    readOnly,
    preferredBytes: clusterBytes,
    info: () => ({}),
    map: {
      unitBytes: 1,
      lookup: (offset, length) => lookup(state, offset, length),
      allocate: (offset, bytes) => allocate(state, offset, bytes),
      prepare: () => setInUse(IN_USE),
      commit: () => commit(state),
    },
    files: [file],
    check: async () => check(state),
    finish: () => setInUse(0),
  });
}

async function readHeader(file: BlockNode, name: string): Promise<ParallelsHeader> {
  const bytes = new Uint8Array(headerLayout.size);
  await readPadded(file, 0, bytes);
  const header = headerLayout.read(bytes);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable Parallels image: ${what}`);
  };
  const { version, clusterSectors, batEntries, diskSectors, extensionSector } = header;
  require(parallels.probe(bytes, name) > 0, 'its magic text is wrong');
  require(version === VERSION, `its version is ${version}; 2 is known`);
  require(clusterSectors >= 1 &&
    clusterSectors <=
      CLUSTER_SECTORS_MAX, `its clusters have ${clusterSectors} sectors; 1 to ${CLUSTER_SECTORS_MAX} are supported`);
  require(batEntries <=
    BAT_MAX_ENTRIES, `its table has ${batEntries} entries; at most ${BAT_MAX_ENTRIES} are supported`);
  require(headerLayout.size + batEntries * 4 <= file.sizeBytes, 'its table is not inside the file');
  require(diskSectors <=
    batEntries * clusterSectors, `its disk of ${diskSectors} sectors is larger than its ${batEntries} clusters`);
  require(header.dataSector * SECTOR_BYTES <=
    file.sizeBytes, `its data begins at sector ${header.dataSector}, beyond the end of the file`);
  require(extensionSector === 0, 'it has an extension (dirty bitmaps), which is not supported');
  return header;
}

function placeOf(state: State, cluster: number): number | undefined {
  const entry = u32le.get(state.bat, cluster * 4);
  if (entry === 0) return undefined;
  const at = entry * state.entryBytes;
  checkPlace(state.name, `cluster ${cluster}`, at, headerLayout.size + state.bat.byteLength, state.file.sizeBytes);
  return at;
}

function lookup(state: State, offset: number, length: number): Run {
  const { clusterBytes, file } = state;
  const cluster = Math.floor(offset / clusterBytes);
  const from = offset - cluster * clusterBytes;
  const n = Math.min(length, clusterBytes - from);
  const place = placeOf(state, cluster);
  return place === undefined ? { kind: 'hole', length: n } : { kind: 'data', length: n, file, at: place + from };
}

async function allocate(state: State, offset: number, bytes: Uint8Array): Promise<void> {
  const { clusterBytes, entryBytes, file, bat, name, dataOffset } = state;
  for (let done = 0; done < bytes.length; ) {
    const cluster = Math.floor((offset + done) / clusterBytes);
    const from = offset + done - cluster * clusterBytes;
    const part = bytes.subarray(done, done + clusterBytes - from);
    // At the file's end everything is zeros.
    const at = alignUp(Math.max(file.sizeBytes, dataOffset), entryBytes);
    if (at / entryBytes >= 2 ** 32) throw new IoError('no-space', `${name}: the file cannot grow further`);
    await growFile(file, at + clusterBytes);
    await file.write(at + from, part);
    u32le.put(bat, cluster * 4, at / entryBytes);
    state.changed.add(Math.floor(cluster / 128));
    done += part.length;
  }
}

/** Data, then the parts of the table that name its places. */
async function commit({ file, bat, changed }: State): Promise<void> {
  await file.flush();
  if (changed.size === 0) return;
  for (const part of changed) {
    const bytes = new Uint8Array(bat.buffer, bat.byteOffset + part * 512, Math.min(512, bat.byteLength - part * 512));
    await file.write(headerLayout.size + part * 512, bytes);
  }
  changed.clear();
  await file.flush();
}

/** Clusters outside the file, and clusters that overlap. */
function check(state: State): CheckResult {
  const { bat, clusterBytes, header, dataOffset } = state;
  const result = newCheckResult();
  result.totalClusters = header.batEntries;
  result.imageEndOffset = dataOffset;
  const places: { readonly cluster: number; readonly at: number }[] = [];
  let before: number | undefined;
  for (let cluster = 0; cluster * 4 < bat.byteLength; cluster += 1) {
    try {
      const at = placeOf(state, cluster);
      if (at === undefined) continue;
      places.push({ cluster, at });
      if (before !== undefined && before + clusterBytes !== at) result.fragmentedClusters += 1;
      before = at;
    } catch (error) {
      addCorruption(result, `ERROR ${error instanceof Error ? error.message : error}`);
    }
  }
  result.allocatedClusters = places.length;
  places.sort((a, b) => a.at - b.at);
  for (const [i, { cluster, at }] of places.entries()) {
    result.imageEndOffset = Math.max(result.imageEndOffset, at + clusterBytes);
    if (i > 0 && places[i - 1].at + clusterBytes > at)
      addCorruption(result, `ERROR cluster ${cluster} at ${at} overlaps cluster ${places[i - 1].cluster}`);
  }
  return result;
}
