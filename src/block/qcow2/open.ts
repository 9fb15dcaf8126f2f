/** Opens a qcow2 image as a node. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { BackingReference, ImageInfo, ImageNode, OpenOptions } from '../format.ts';
import { rwLock } from '../lock.ts';
import { checkRange, checkWritable } from '../request.ts';
import { decodeUtf8 } from '../text.ts';
import { amendImage, amendImageKeys, rewriteHeader } from './amend.ts';
import { bitmapInfo, bitmapsOf, readBitmaps, storeBitmaps } from './bitmaps.ts';
import { checkImage } from './check.ts';
import { luksPlace, openEncryption } from './data.ts';
import {
  AUTOCLEAR,
  COMPATIBLE,
  compressionOf,
  EXTENSION,
  INCOMPATIBLE,
  type Qcow2Header,
  readHeader,
  unknownAutoclear,
} from './header.ts';
import { cacheFor, commit, commitDisk, corrupt, geometryOf, type Image, readL1, settle, writeFlags } from './image.ts';
import { immediateOf } from './immediate.ts';
import { preallocate, resizeDisk } from './l1.ts';
import { diskExtents, readDisk } from './read.ts';
import { openRefcounts, readRefcountTable } from './refcounts.ts';
import { readSnapshots, showSnapshot, snapshotsOf } from './snapshots.ts';
import { writeCompressedCluster, writeDisk } from './write.ts';
import { discardDisk, emptyDisk, zeroDisk } from './zero.ts';

/** Opens the image in `file`. @throws UserError when it is not usable; `file` stays open then */
export async function openQcow2(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name, forCheck = false } = options;
  const header = await readHeader(file, name);
  const readOnly = (options.readOnly ?? file.readOnly) || options.snapshot !== undefined;
  if (!readOnly && !forCheck && (header.incompatible & INCOMPATIBLE.corrupt) !== 0n) {
    throw new UserError(
      `${name}: the image is marked corrupt; repair it with vireo-img check -r all, or open it read-only`,
    );
  }
  const dataFile = await openDataFile(file, header, options);
  let backing: BlockNode | undefined;
  try {
    backing = await openBacking(header, options);
    const image = await assemble({ ...options, readOnly }, file, dataFile, backing, header);
    if (options.snapshot !== undefined) await showSnapshot(image, options.snapshot);
    if (!readOnly) await prepareForWriting(image, forCheck);
    return nodeOf(image, options);
  } catch (error) {
    await backing?.close();
    if (dataFile !== file) await dataFile.close();
    throw error;
  }
}

async function openDataFile(file: BlockNode, header: Qcow2Header, options: OpenOptions): Promise<BlockNode> {
  if ((header.incompatible & INCOMPATIBLE.dataFile) === 0n) return file;
  const extension = header.extensions.find(({ type }) => type === EXTENSION.dataFile);
  if (extension === undefined || options.resolveDataFile === undefined) {
    throw new UserError(
      `${options.name}: its data is in another file, and ${extension ? 'none may be opened' : 'it does not name it'}`,
    );
  }
  return options.resolveDataFile(decodeUtf8(extension.data));
}

async function openBacking(header: Qcow2Header, options: OpenOptions): Promise<BlockNode | undefined> {
  if (header.backingFile === undefined || options.withoutBacking === true) return undefined;
  if (options.resolveBacking === undefined) {
    throw new UserError(`${options.name}: it has the backing file ${header.backingFile}, and none may be opened`);
  }
  return options.resolveBacking(backingOf(header)!);
}

function backingOf({ backingFile, backingFormat }: Qcow2Header): BackingReference | undefined {
  if (backingFile === undefined) return undefined;
  return { filename: backingFile, ...(backingFormat === undefined ? {} : { format: backingFormat }) };
}

async function assemble(
  options: OpenOptions & { readOnly: boolean },
  file: BlockNode,
  dataFile: BlockNode,
  backing: BlockNode | undefined,
  header: Qcow2Header,
): Promise<Image> {
  const { name, readOnly, compression } = options;
  const geometry = geometryOf(header);
  let metadata: Set<number> | undefined;
  const image: Image = {
    name,
    file,
    dataFile,
    backing,
    readOnly,
    header,
    geometry,
    compression,
    encryption: await openEncryption(file, header, options),
    lock: rwLock(),
    l2: cacheFor(file, geometry.clusterBytes),
    refcounts: openRefcounts(await readRefcountTable(file, header, name, options.forCheck === true), {
      name,
      file,
      header,
      isMetadata: (cluster) => (metadata ??= metadataClusters(image)).has(cluster),
      onCorrupt: (what) => corrupt(image, what),
    }),
    snapshots: await readSnapshots({ file, header, name }),
    bitmaps: await readBitmaps(file, header, name),
    l1: await readL1({ file, name }, header.l1Offset, header.l1Entries, geometry.clusterBytes),
    sizeBytes: header.size,
    compressedEnd: 0,
    scratch: [],
  };
  image.refcounts.onFreed = (cluster) => {
    metadata?.delete(cluster);
    image.l2.drop(cluster * geometry.clusterBytes, geometry.clusterBytes);
    if (Math.floor(image.compressedEnd / geometry.clusterBytes) === cluster) image.compressedEnd = 0;
  };
  return image;
}

/** Clusters of metadata as the file has them now; none of them may ever be handed out as free. */
function metadataClusters(image: Image): Set<number> {
  const { clusterBytes } = image.geometry;
  const { header } = image;
  const clusters = new Set([0]);
  const add = (offset: number, bytes: number) => {
    for (let at = offset; at < offset + bytes; at += clusterBytes) clusters.add(at / clusterBytes);
  };
  add(header.l1Offset, header.l1Entries * 8);
  add(header.refcountTableOffset, header.refcountTableClusters * clusterBytes);
  for (const table of image.l1.tables) if (table !== 0) add(table, 1);
  for (const block of image.refcounts.table) if (block !== 0) add(block, 1);
  const luks = luksPlace(header, image.name);
  if (luks !== undefined) add(luks.offset, luks.length);
  if (header.snapshotCount > 0) add(header.snapshotsOffset, 1);
  for (const { l1Offset, l1Entries } of image.snapshots) add(l1Offset, l1Entries * 8);
  return clusters;
}

async function prepareForWriting(image: Image, forCheck: boolean): Promise<void> {
  const { header } = image;
  const unknown = unknownAutoclear(header);
  if (unknown !== 0n) {
    header.autoclear &= ~unknown;
    await writeFlags(image);
  }
  const wasDirty = (header.incompatible & INCOMPATIBLE.dirty) !== 0n;
  if (!wasDirty || forCheck) return;
  const { corruptions, checkErrors } = await checkImage(image, 'all');
  if (corruptions + checkErrors > 0) throw new UserError(`${image.name}: it was not closed and cannot be repaired`);
}

function infoOf(image: Image): ImageInfo {
  const { header, geometry } = image;
  const has = (flag: bigint) => (header.incompatible & flag) !== 0n;
  const dataFile = header.extensions.find(({ type }) => type === EXTENSION.dataFile);
  const bitmaps = bitmapInfo(image.bitmaps);
  const encrypt = image.encryption === undefined ? {} : { encrypt: image.encryption.info };
  const v3 = {
    compat: '1.1',
    'compression-type': compressionOf(header),
    'lazy-refcounts': (header.compatible & COMPATIBLE.lazyRefcounts) !== 0n,
    ...(bitmaps.length > 0 ? { bitmaps } : {}),
    'refcount-bits': 2 ** header.refcountOrder,
    ...(has(INCOMPATIBLE.dataFile) && dataFile !== undefined ? { 'data-file': decodeUtf8(dataFile.data) } : {}),
    ...(has(INCOMPATIBLE.dataFile) ? { 'data-file-raw': (header.autoclear & AUTOCLEAR.rawDataFile) !== 0n } : {}),
    ...encrypt,
    corrupt: has(INCOMPATIBLE.corrupt),
    'extended-l2': has(INCOMPATIBLE.extendedL2),
  };
  const v2 = { compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16, ...encrypt };
  const backing = backingOf(header);
  return {
    clusterBytes: geometry.clusterBytes,
    dirty: has(INCOMPATIBLE.dirty),
    ...(image.encryption === undefined ? {} : { encrypted: true }),
    ...(backing === undefined ? {} : { backing }),
    specific: { type: 'qcow2', data: header.version >= 3 ? v3 : v2 },
  };
}

/** Up to here a request costs less than the promises of the long way. */
const SMALL_BYTES = 64 * 1024;
const DONE = Promise.resolve();

function nodeOf(image: Image, options: OpenOptions): ImageNode {
  const { name, readOnly, lock, header } = image;
  const within = (offset: number, length: number) => checkRange(name, image.sizeBytes, offset, length);
  const changes = (offset: number, length: number) => {
    checkWritable(name, readOnly);
    within(offset, length);
  };
  const immediate = immediateOf(image);
  const read = async (offset: number, target: Uint8Array) => {
    within(offset, target.length);
    await lock.shared(() => readDisk(image, offset, target));
  };
  const write = async (offset: number, source: Uint8Array) => {
    changes(offset, source.length);
    await writeDisk(image, offset, source);
  };
  return {
    format: 'qcow2',
    get info() {
      return infoOf(image);
    },
    get sizeBytes() {
      return image.sizeBytes;
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: image.geometry.clusterBytes },
    ...(image.backing === undefined ? {} : { backing: image.backing }),
    immediate,
    read(offset, target) {
      return target.length <= SMALL_BYTES && immediate.read(offset, [target]) ? DONE : read(offset, target);
    },
    write(offset, source) {
      return source.length <= SMALL_BYTES && immediate.write(offset, [source]) ? DONE : write(offset, source);
    },
    async flush() {
      if (!readOnly) await lock.exclusive(() => commitDisk(image));
    },
    async extents(offset, length) {
      within(offset, length);
      return lock.shared(() => diskExtents(image, offset, length));
    },
    async discard(offset, length) {
      changes(offset, length);
      await discardDisk(image, offset, length);
    },
    async writeZeroes(offset, length, { mayUnmap = false } = {}) {
      changes(offset, length);
      await zeroDisk(image, offset, length, mayUnmap);
    },
    async writeCompressed(offset, source) {
      changes(offset, source.length);
      await writeCompressedCluster(image, offset, source);
    },
    async resize(sizeBytes) {
      checkWritable(name, readOnly);
      await resizeDisk(image, sizeBytes);
    },
    snapshots: snapshotsOf(image),
    bitmaps: bitmapsOf(image),
    check: (repair) => {
      if (repair !== 'none') checkWritable(name, readOnly);
      return lock.exclusive(() => checkImage(image, repair));
    },
    async changeBacking(reference) {
      checkWritable(name, readOnly);
      header.backingFile = reference?.filename;
      header.backingFormat = reference?.format;
      await lock.exclusive(() => rewriteHeader(image));
    },
    async preallocate(mode, fromBytes = 0) {
      checkWritable(name, readOnly);
      await preallocate(image, fromBytes, mode);
    },
    async amend(changes) {
      checkWritable(name, readOnly);
      await lock.exclusive(() => amendImage(image, changes));
    },
    async amendKeys(change, force) {
      checkWritable(name, readOnly);
      await lock.exclusive(() => amendImageKeys(image, options, change, force));
    },
    async makeEmpty() {
      checkWritable(name, readOnly);
      if (image.snapshots.length > 0) throw new IoError('io', `${name}: an image with snapshots cannot be emptied`);
      await emptyDisk(image);
    },
    async close() {
      if (!readOnly) await lock.exclusive(() => closeForWriting(image));
      if (image.dataFile !== image.file) await image.dataFile.close();
      await image.backing?.close();
      await image.file.close();
    },
  };
}

async function closeForWriting(image: Image): Promise<void> {
  await commit(image);
  await storeBitmaps(image);
  await settle(image);
}
