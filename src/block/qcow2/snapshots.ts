/** Internal snapshots (docs/interop/qcow2.txt, "Snapshots"): each is an L1 table and a disk size of its own. */
import { UserError } from '../../base/index.ts';
import type { SnapshotInfo, SnapshotRequest, Snapshots } from '../format.ts';
import { joinBytes, type LayoutOf, layout, u16be, u32be, u64be, viewOf } from '../layout.ts';
import { alignUp, readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';
import { headerFieldOffsets, LIMITS } from './header.ts';
import { commit, commitWhenFull, encodeL1, type Image, type L1Table, readL1 } from './image.ts';
import { l1EntriesFor, switchL1 } from './l1.ts';
import { clustersOf, decodeEntry, setCopied } from './mapping.ts';
import { dropVmState, readVmState, writeVmState } from './vm-state.ts';

const row = layout({
  l1Offset: u64be,
  l1Entries: u32be,
  idBytes: u16be,
  nameBytes: u16be,
  dateSeconds: u32be,
  dateNanos: u32be,
  vmClockNanos: u64be,
  vmStateBytes: u32be,
  extraBytes: u32be,
});
const EXTRA_MAX_BYTES = 1024;

export interface StoredSnapshot extends SnapshotInfo {
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** Extra data beyond what is known, kept as it is. */
  readonly extraTail: Uint8Array;
}

/** Reads the snapshot table. @throws UserError that names the entry */
export async function readSnapshots(image: Pick<Image, 'file' | 'header' | 'name'>): Promise<StoredSnapshot[]> {
  const { snapshotCount, snapshotsOffset, size } = image.header;
  const snapshots: StoredSnapshot[] = [];
  let at = snapshotsOffset;
  for (let i = 0; i < snapshotCount; i += 1) {
    const fixed = new Uint8Array(row.size);
    await readPadded(image.file, at, fixed);
    const entry = row.read(fixed);
    const bad = (what: string): never => {
      throw new UserError(`${image.name}: snapshot ${i} of the image: ${what}`);
    };
    if (entry.extraBytes > EXTRA_MAX_BYTES) bad(`it has ${entry.extraBytes} bytes of extra data; at most 1024 fit`);
    if (entry.l1Entries * 8 > LIMITS.l1Bytes) bad(`its L1 table has ${entry.l1Entries} entries, which are too many`);
    if (entry.l1Offset % 2 ** image.header.clusterBits !== 0 || entry.l1Offset > LIMITS.offset) {
      bad('its L1 table is not at a cluster');
    }
    const rest = new Uint8Array(entry.extraBytes + entry.idBytes + entry.nameBytes);
    await readPadded(image.file, at + row.size, rest);
    snapshots.push(decodeSnapshot(entry, rest, size));
    at = alignUp(at + row.size + rest.length, 8);
    if (at - snapshotsOffset > LIMITS.snapshotTableBytes) bad('the snapshot table is longer than 64 MiB');
  }
  return snapshots;
}

function decodeSnapshot(entry: LayoutOf<typeof row>, rest: Uint8Array, diskBytes: number): StoredSnapshot {
  const view = viewOf(rest);
  const extra = (index: number) => (entry.extraBytes >= index * 8 + 8 ? u64be.get(view, index * 8) : undefined);
  const icount = entry.extraBytes >= 24 ? view.getBigUint64(16) : undefined;
  const nameAt = entry.extraBytes + entry.idBytes;
  return {
    id: decodeUtf8(rest.subarray(entry.extraBytes, nameAt)),
    name: decodeUtf8(rest.subarray(nameAt)),
    l1Offset: entry.l1Offset,
    l1Entries: entry.l1Entries,
    dateSeconds: entry.dateSeconds,
    dateNanos: entry.dateNanos,
    vmClockNanos: entry.vmClockNanos,
    vmStateBytes: extra(0) ?? entry.vmStateBytes,
    diskBytes: extra(1) ?? diskBytes,
    ...(icount === undefined || icount === 2n ** 64n - 1n ? {} : { instructionCount: Number(icount) }),
    extraTail: rest.slice(Math.min(24, entry.extraBytes), entry.extraBytes),
  };
}

function encodeSnapshot(snapshot: StoredSnapshot): Uint8Array {
  const [id, name] = [encodeUtf8(snapshot.id), encodeUtf8(snapshot.name)];
  const extra = new Uint8Array(24 + snapshot.extraTail.length);
  const view = viewOf(extra);
  u64be.put(view, 0, snapshot.vmStateBytes);
  u64be.put(view, 8, snapshot.diskBytes);
  view.setBigUint64(16, snapshot.instructionCount === undefined ? 2n ** 64n - 1n : BigInt(snapshot.instructionCount));
  extra.set(snapshot.extraTail, 24);
  const fixed = row.write({
    ...snapshot,
    vmStateBytes: Math.min(snapshot.vmStateBytes, 0xffffffff),
    idBytes: id.length,
    nameBytes: name.length,
    extraBytes: extra.length,
  });
  const bytes = new Uint8Array(alignUp(fixed.length + extra.length + id.length + name.length, 8));
  bytes.set(fixed);
  bytes.set(extra, fixed.length);
  bytes.set(id, fixed.length + extra.length);
  bytes.set(name, fixed.length + extra.length + id.length);
  return bytes;
}

/** Bytes that the snapshot table takes in the file. */
export async function snapshotTableBytes(image: Image): Promise<number> {
  const { snapshotCount, snapshotsOffset } = image.header;
  let at = snapshotsOffset;
  for (let i = 0; i < snapshotCount; i += 1) {
    const fixed = new Uint8Array(row.size);
    await readPadded(image.file, at, fixed);
    const { extraBytes, idBytes, nameBytes } = row.read(fixed);
    at = alignUp(at + row.size + extraBytes + idBytes + nameBytes, 8);
  }
  return at - snapshotsOffset;
}

/** Writes the table to new clusters and makes the header point to it. */
async function writeSnapshots(image: Image, snapshots: readonly StoredSnapshot[]): Promise<void> {
  const { file, header, refcounts } = image;
  const { clusterBytes } = image.geometry;
  const old = { first: header.snapshotsOffset / clusterBytes, bytes: await snapshotTableBytes(image) };
  const parts = snapshots.map(encodeSnapshot);
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  let offset = 0;
  if (total > 0) {
    const bytes = joinBytes(parts, alignUp(total, clusterBytes));
    const { first } = await refcounts.allocate(bytes.length / clusterBytes);
    offset = first * clusterBytes;
    await file.write(offset, bytes);
  }
  await commit(image);
  const field = new Uint8Array(12);
  u32be.put(viewOf(field), 0, snapshots.length);
  u64be.put(viewOf(field), 4, offset);
  await file.write(headerFieldOffsets.snapshots, field);
  await file.flush();
  Object.assign(header, { snapshotCount: snapshots.length, snapshotsOffset: offset });
  image.snapshots.splice(0, image.snapshots.length, ...snapshots);
  if (old.bytes > 0) refcounts.free(old.first, Math.ceil(old.bytes / clusterBytes));
}

/** Visits every cluster run that an L1 table leads to, its L2 tables included. */
async function eachReference(
  image: Image,
  table: L1Table,
  visit: (first: number, count: number) => Promise<void> | void,
) {
  const { clusterBytes, l2EntryBytes } = image.geometry;
  for (const offset of table.tables) {
    if (offset === 0) continue;
    for (let at = 0; at < clusterBytes; at += image.l2.pageBytes) {
      const page = await image.l2.get(offset + at);
      for (let i = 0; i < page.bytes.length; i += l2EntryBytes) {
        const span = clustersOf(image, decodeEntry(image, page.view, i));
        if (span !== undefined) await visit(span.first, span.count);
      }
    }
    await visit(offset / clusterBytes, 1);
  }
}

/** Makes the "copied" flags of the active tables agree with the counts. */
export async function refreshCopied(image: Image): Promise<void> {
  const { clusterBytes, l2EntryBytes } = image.geometry;
  const { l1, l2, refcounts } = image;
  for (const [index, offset] of l1.tables.entries()) {
    if (offset === 0) continue;
    for (let at = 0; at < clusterBytes; at += l2.pageBytes) {
      for (let i = 0; i < l2.pageBytes; i += l2EntryBytes) {
        const entry = decodeEntry(image, (await l2.get(offset + at)).view, i);
        const span = entry.compressed ? undefined : clustersOf(image, entry);
        if (span === undefined) continue;
        const copied = (await refcounts.get(span.first)) === 1;
        if (copied !== entry.copied) setCopied(image, await l2.get(offset + at), i, copied);
      }
    }
    const copied = (await refcounts.get(offset / clusterBytes)) === 1;
    if (copied !== l1.copied[index]) {
      l1.copied[index] = copied;
      l1.dirty.add(index);
    }
    await commitWhenFull(image);
  }
}

function find(image: Image, idOrName: string): StoredSnapshot {
  const { snapshots } = image;
  const found = snapshots.find(({ id }) => id === idOrName) ?? snapshots.find(({ name }) => name === idOrName);
  if (found === undefined) throw new UserError(`${image.name}: there is no snapshot "${idOrName}"`);
  return found;
}

function l1Of(image: Image, snapshot: StoredSnapshot): Promise<L1Table> {
  return readL1(image, snapshot.l1Offset, snapshot.l1Entries, image.geometry.clusterBytes);
}

/** Makes a fresh image show a snapshot's disk. */
export async function showSnapshot(image: Image, idOrName: string): Promise<void> {
  const snapshot = find(image, idOrName);
  const l1 = await l1Of(image, snapshot);
  if (l1.tables.length * image.geometry.l2Coverage < snapshot.diskBytes) {
    throw new UserError(`${image.name}: the L1 table of snapshot "${idOrName}" is too short for its disk`);
  }
  image.l1 = l1;
  image.sizeBytes = snapshot.diskBytes;
}

async function createSnapshot(image: Image, request: SnapshotRequest, vmStateBytes = 0): Promise<SnapshotInfo> {
  const { clusterBytes } = image.geometry;
  const { file, l1, refcounts } = image;
  if (image.snapshots.length >= LIMITS.snapshots)
    throw new UserError(`${image.name}: no more than 65536 snapshots fit`);
  const used = image.snapshots.map(({ id }) => Number.parseInt(id, 10)).filter(Number.isFinite);
  await commit(image);
  const bytes = new Uint8Array(alignUp(Math.max(1, l1.tables.length * 8), clusterBytes));
  const { first } = await refcounts.allocate(bytes.length / clusterBytes);
  await eachReference(image, l1, (cluster, count) => refcounts.increment(cluster, count));
  bytes.set(encodeL1({ tables: l1.tables, copied: l1.copied.map(() => false) }));
  await file.write(first * clusterBytes, bytes);
  await refreshCopied(image);
  const snapshot: StoredSnapshot = {
    ...request,
    vmClockNanos: request.vmClockNanos ?? 0,
    id: String(Math.max(0, ...used) + 1),
    vmStateBytes,
    instructionCount: 0,
    diskBytes: image.sizeBytes,
    l1Offset: first * clusterBytes,
    l1Entries: Math.max(1, l1.tables.length),
    extraTail: new Uint8Array(0),
  };
  await writeSnapshots(image, [...image.snapshots, snapshot]);
  await commit(image);
  return snapshot;
}

async function createWithState(
  image: Image,
  request: SnapshotRequest,
  state: Parameters<Snapshots['create']>[1],
): Promise<SnapshotInfo> {
  // What a snapshot that was gone back to left there must not become part of the new one.
  await image.lock.exclusive(() => dropVmState(image, (table) => freeReferences(image, table)));
  if (state === undefined) return image.lock.exclusive(() => createSnapshot(image, request));
  try {
    const vmStateBytes = await writeVmState(image, state);
    return await image.lock.exclusive(() => createSnapshot(image, request, vmStateBytes));
  } finally {
    await image.lock.exclusive(async () => {
      await dropVmState(image, (table) => freeReferences(image, table));
      await refreshCopied(image);
      await commit(image);
    });
  }
}

function freeReferences(image: Image, table: L1Table): Promise<void> {
  return eachReference(image, table, (first, count) => image.refcounts.free(first, count));
}

async function applySnapshot(image: Image, idOrName: string): Promise<void> {
  const snapshot = find(image, idOrName);
  if (image.bitmaps.length > 0) throw new UserError(`${image.name}: remove its bitmaps before going to a snapshot`);
  const table = await l1Of(image, snapshot);
  const needed = Math.max(1, l1EntriesFor(image.geometry.l2Coverage, snapshot.diskBytes));
  while (table.tables.length < needed) {
    table.tables.push(0);
    table.copied.push(false);
  }
  await commit(image);
  const old = image.l1;
  await eachReference(image, table, (first, count) => image.refcounts.increment(first, count));
  await switchL1(image, { tables: table.tables, copied: table.copied.map(() => false) }, snapshot.diskBytes);
  await eachReference(image, old, (first, count) => image.refcounts.free(first, count));
  await commit(image);
  await refreshCopied(image);
  await commit(image);
}

async function deleteSnapshot(image: Image, idOrName: string): Promise<void> {
  const snapshot = find(image, idOrName);
  const table = await l1Of(image, snapshot);
  await writeSnapshots(
    image,
    image.snapshots.filter((other) => other !== snapshot),
  );
  await eachReference(image, table, (first, count) => image.refcounts.free(first, count));
  const { clusterBytes } = image.geometry;
  if (snapshot.l1Entries > 0) {
    image.refcounts.free(snapshot.l1Offset / clusterBytes, Math.ceil((snapshot.l1Entries * 8) / clusterBytes));
  }
  await commit(image);
  await refreshCopied(image);
  await commit(image);
}

/** The snapshots of an image that is open for writing or reading. */
export function snapshotsOf(image: Image): Snapshots {
  return {
    list: () => [...image.snapshots],
    create: (request, state) => createWithState(image, request, state),
    readState: (idOrName, offset, target) =>
      image.lock.shared(async () => {
        const snapshot = find(image, idOrName);
        await readVmState(image, await l1Of(image, snapshot), snapshot.diskBytes, offset, target);
      }),
    apply: (idOrName) => image.lock.exclusive(() => applySnapshot(image, idOrName)),
    delete: (idOrName) => image.lock.exclusive(() => deleteSnapshot(image, idOrName)),
  };
}
