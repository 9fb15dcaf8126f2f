/** Finding and repairing wrong reference counts (docs/interop/qcow2.txt, "Host cluster management"). */
import type { CheckResult, Repair } from '../format.ts';
import { viewOf } from '../layout.ts';
import { alignUp } from '../request.ts';
import { bitmapDirectory, bitmapTable } from './bitmaps.ts';
import { luksPlace } from './data.ts';
import { INCOMPATIBLE, LIMITS } from './header.ts';
import { commit, hasDataFile, type Image, readL1, writeFlags } from './image.ts';
import { COMPRESSED_HIGH, clustersOf, decodeEntry, type Entry } from './mapping.ts';
import { rebuildRefcounts } from './rebuild.ts';
import { refreshCopied, snapshotTableBytes } from './snapshots.ts';

const MESSAGES_MAX = 1000;
/** Clusters with wrong counts that one check handles. */
const WRONG_MAX = 2 ** 20;
/** Counts of clusters in memory at once: 4 bytes each. */
const CLUSTERS_MAX = 2 ** 28;

interface Survey {
  readonly image: Image;
  readonly result: CheckResult;
  /** References found to each cluster of the file. */
  readonly found: Uint32Array;
  /** Room for one L2 table. */
  readonly table: Uint8Array;
  /** Clusters whose counts are not, or were not, what was found; undefined when they are too many to know them all. */
  wrong?: ReadonlySet<number>;
}

/** Checks the image and repairs what it may. The image must have nothing in flight. */
export async function checkImage(image: Image, repair: Repair): Promise<CheckResult> {
  let survey = await surveyImage(image);
  const broken = brokenRefcounts(survey);
  if (broken > 0) {
    survey.result.corruptions = Math.max(survey.result.corruptions, broken);
    if (repair !== 'all' || survey.result.checkErrors > 0) return survey.result;
    const { messages } = survey.result;
    messages.push('Rebuilding refcount structure');
    await rebuildRefcounts(image, (await surveyImage(image, false)).found);
    survey = await surveyImage(image);
    survey.result.corruptionsFixed += broken;
    survey.result.messages.unshift(...messages);
  }
  const { result } = survey;
  await compareCounts(survey, repair);
  await checkCopied(survey, repair);
  if (repair !== 'none') {
    await commit(image);
    if (repair === 'all' || result.corruptions === 0) await clearFlags(survey);
  }
  return result;
}

/** How many refcount blocks and tables are missing, or not in a place of their own inside the file. */
function brokenRefcounts({ image, found }: Survey): number {
  const { header, refcounts, geometry } = image;
  const { clusterBytes } = geometry;
  const isOwn = (offset: number) => offset % clusterBytes === 0 && found[offset / clusterBytes] === 1;
  let broken = refcounts.table.filter((block) => block !== 0 && !isOwn(block)).length;
  for (let i = 0; i < header.refcountTableClusters; i += 1) {
    if (!isOwn(header.refcountTableOffset + i * clusterBytes)) broken += 1;
  }
  // Where there is no block, nothing can be counted in place: a new one would lie on what it does not know of.
  const perBlock = (clusterBytes * 8) / 2 ** header.refcountOrder;
  for (let first = 0; first < found.length; first += perBlock) {
    if ((refcounts.table[first / perBlock] ?? 0) !== 0) continue;
    if (found.subarray(first, first + perBlock).some((count) => count > 0)) broken += 1;
  }
  return broken;
}

export async function surveyImage(image: Image, withRefcounts = true): Promise<Survey> {
  const { clusterBytes } = image.geometry;
  const clusters = Math.ceil(image.file.sizeBytes / clusterBytes);
  const result: CheckResult = {
    corruptions: 0,
    leaks: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    checkErrors: 0,
    totalClusters: Math.ceil(image.sizeBytes / clusterBytes),
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
    imageEndOffset: 0,
    messages: [],
  };
  if (clusters > CLUSTERS_MAX) {
    result.checkErrors += 1;
    say(result, `ERROR the file has more clusters than can be checked: ${clusters}`);
  }
  const found = new Uint32Array(Math.min(clusters, CLUSTERS_MAX));
  const survey: Survey = { image, result, found, table: new Uint8Array(clusterBytes) };
  await countAll(survey);
  if (withRefcounts) countRefcounts(survey);
  return survey;
}

function say(result: CheckResult, message: string): void {
  if (result.messages.length < MESSAGES_MAX) result.messages.push(message);
}

/** Notes a reference; one to beyond the file is a corruption, unless nothing was ever written there. */
function refer({ found, result, image }: Survey, what: string, offset: number, bytes: number): void {
  const { clusterBytes } = image.geometry;
  if (bytes === 0) return;
  if (offset % (what === 'compressed data' ? 1 : clusterBytes) !== 0 || offset + bytes > LIMITS.offset) {
    result.corruptions += 1;
    say(result, `ERROR ${what} lies at 0x${offset.toString(16)}, which is no cluster's offset`);
    return;
  }
  const last = Math.floor((offset + bytes - 1) / clusterBytes);
  for (let cluster = Math.floor(offset / clusterBytes); cluster <= last; cluster += 1) {
    if (cluster < found.length) {
      found[cluster] += 1;
    } else {
      result.corruptions += 1;
      say(result, `ERROR ${what} lies at 0x${offset.toString(16)}, beyond the end of the file`);
      return;
    }
  }
}

async function countAll(survey: Survey): Promise<void> {
  const { image } = survey;
  const { header, geometry } = image;
  const { clusterBytes } = geometry;
  refer(survey, 'the header', 0, clusterBytes);
  refer(survey, 'the active L1 table', header.l1Offset, header.l1Entries * 8);
  await countL1(survey, image.l1.tables, true);
  refer(survey, 'the snapshot table', header.snapshotsOffset, await snapshotTableBytes(image));
  for (const { l1Offset, l1Entries, name } of image.snapshots) {
    refer(survey, `the L1 table of snapshot ${name}`, l1Offset, l1Entries * 8);
    await countL1(survey, (await readL1(image, l1Offset, l1Entries, clusterBytes)).tables, false);
  }
  const luks = luksPlace(header, image.name);
  if (luks !== undefined) refer(survey, 'the LUKS header', luks.offset, luks.length);
  const directory = bitmapDirectory(header);
  if (directory !== undefined) refer(survey, 'the bitmap directory', directory.offset, directory.bytes);
  for (const bitmap of image.bitmaps) {
    refer(survey, `the table of bitmap ${bitmap.name}`, bitmap.tableOffset, bitmap.tableEntries * 8);
    for (const entry of await bitmapTable(image, bitmap))
      if (entry > 1) refer(survey, 'bitmap data', entry, clusterBytes);
  }
}

function countRefcounts(survey: Survey): void {
  const { header, refcounts, geometry } = survey.image;
  const { clusterBytes } = geometry;
  refer(survey, 'the refcount table', header.refcountTableOffset, header.refcountTableClusters * clusterBytes);
  for (const block of refcounts.table) if (block !== 0) refer(survey, 'a refcount block', block, clusterBytes);
}

async function countL1(survey: Survey, tables: readonly number[], isActive: boolean): Promise<void> {
  const { image } = survey;
  const { clusterBytes } = image.geometry;
  for (const table of tables) {
    if (table === 0) continue;
    refer(survey, 'an L2 table', table, clusterBytes);
    if (table + clusterBytes > alignUp(image.file.sizeBytes, clusterBytes)) continue;
    const place: Place = { next: 0 };
    await image.l2.copy(table, survey.table);
    countTable(survey, viewOf(survey.table), isActive, place);
  }
}

/** Where the next cluster of a table would lie without fragmentation, or 0. */
interface Place {
  next: number;
}

function countTable(survey: Survey, view: DataView, isActive: boolean, place: Place): void {
  const { image, result, found } = survey;
  const { clusterBytes, l2EntryBytes } = image.geometry;
  const isPlain = !hasDataFile(image);
  for (let i = 0; i < view.byteLength; i += l2EntryBytes) {
    const high = view.getUint32(i);
    const low = view.getUint32(i + 4);
    if (high === 0 && low === 0) continue;
    // Nearly all entries are of this kind, and there may be millions.
    if (isPlain && (high & COMPRESSED_HIGH) === 0) {
      const host = (high & 0x00ffffff) * 2 ** 32 + ((low & 0xfffffe00) >>> 0);
      const cluster = host / clusterBytes;
      if (host === 0) continue;
      if (cluster < found.length && Number.isInteger(cluster)) {
        if (isActive) countAllocated(result, host, clusterBytes, place);
        found[cluster] += 1;
        continue;
      }
    }
    countEntry(survey, decodeEntry(image, view, i), isActive, place);
  }
}

function countAllocated(result: CheckResult, host: number, clusterBytes: number, place: Place): void {
  result.allocatedClusters += 1;
  if (place.next !== 0 && host !== place.next) result.fragmentedClusters += 1;
  place.next = host + clusterBytes;
}

function countEntry(survey: Survey, entry: Entry, isActive: boolean, place: Place): void {
  const { image, result } = survey;
  const { clusterBytes } = image.geometry;
  if (entry.host === 0 && !(entry.copied && hasDataFile(image))) return;
  if (isActive && entry.compressed) {
    result.allocatedClusters += 1;
    result.compressedClusters += 1;
    result.fragmentedClusters += 1;
  } else if (isActive) countAllocated(result, entry.host, clusterBytes, place);
  if (clustersOf(image, entry) === undefined) return;
  if (entry.compressed) refer(survey, 'compressed data', entry.host, entry.compressedBytes);
  else refer(survey, 'data', entry.host, clusterBytes);
}

async function compareCounts(survey: Survey, repair: Repair): Promise<void> {
  const { image, result, found } = survey;
  const counted = await countedClusters(survey);
  let isTooMuch = false;
  const wrong: { cluster: number; refcount: number; reference: number }[] = [];
  await image.refcounts.each(counted, (cluster, refcount) => {
    const reference = found[cluster] ?? 0;
    if (cluster < found.length && refcount + reference > 0) {
      result.imageEndOffset = (cluster + 1) * image.geometry.clusterBytes;
    }
    // Beyond the file's end nothing is wasted: a repair puts such counts right, and nobody need hear of them.
    if (refcount === reference || (repair === 'none' && cluster >= found.length)) return;
    if (wrong.length < WRONG_MAX) wrong.push({ cluster, refcount, reference });
    else isTooMuch = true;
  });
  if (isTooMuch) {
    result.checkErrors += 1;
    say(result, `ERROR more than ${WRONG_MAX} clusters have wrong counts; the others were not looked at`);
  }
  if (!isTooMuch) survey.wrong = new Set(wrong.map(({ cluster }) => cluster));
  for (const { cluster, refcount, reference } of wrong) {
    if (cluster >= found.length) {
      await image.refcounts.set(cluster, 0);
      continue;
    }
    const isLeak = refcount > reference;
    if (isLeak) result.leaks += 1;
    else result.corruptions += 1;
    const fits = reference <= image.refcounts.maxCount;
    const mayFix = fits && (repair === 'all' || (repair === 'leaks' && isLeak));
    const word = mayFix ? 'Repairing' : isLeak ? 'Leaked' : 'ERROR';
    say(result, `${word} cluster ${cluster} refcount=${refcount} reference=${reference}`);
    if (!mayFix) continue;
    await image.refcounts.set(cluster, reference);
    if (isLeak) {
      result.leaks -= 1;
      result.leaksFixed += 1;
    } else {
      result.corruptions -= 1;
      result.corruptionsFixed += 1;
    }
  }
}

/** Clusters that the refcount blocks describe, or the file has. */
async function countedClusters({ image, found }: Survey): Promise<number> {
  const perBlock = (image.geometry.clusterBytes * 8) / 2 ** image.header.refcountOrder;
  const { table } = image.refcounts;
  let last = table.length - 1;
  while (last >= 0 && table[last] === 0) last -= 1;
  return Math.min(Math.max(found.length, (last + 1) * perBlock), CLUSTERS_MAX);
}

/** The "copied" flag of an entry means exactly that the count of its cluster is 1. */
async function checkCopied(survey: Survey, repair: Repair): Promise<void> {
  const { image, result } = survey;
  const { clusterBytes } = image.geometry;
  let wrong = 0;
  for (const [index, table] of image.l1.tables.entries()) {
    if (table === 0 || table + clusterBytes > alignUp(image.file.sizeBytes, clusterBytes)) continue;
    const refcount = await countOf(survey, table / clusterBytes);
    if ((refcount === 1) !== image.l1.copied[index]) {
      wrong += 1;
      say(
        result,
        `ERROR OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${table.toString(16)} refcount=${refcount}`,
      );
    }
    await image.l2.copy(table, survey.table);
    wrong += await checkCopiedTable(survey, viewOf(survey.table));
  }
  if (repair === 'all' && wrong > 0) {
    await refreshCopied(image);
    result.corruptionsFixed += wrong;
  } else {
    result.corruptions += wrong;
  }
}

/** What the count of a cluster is now: what was found, unless it was wrong. */
function countOf({ image, found, wrong }: Survey, cluster: number): number | Promise<number> {
  return cluster < found.length && wrong !== undefined && !wrong.has(cluster)
    ? found[cluster]
    : image.refcounts.get(cluster);
}

async function checkCopiedTable(survey: Survey, view: DataView): Promise<number> {
  const { image, result, found, wrong } = survey;
  const { clusterBytes, l2EntryBytes } = image.geometry;
  const isPlain = !hasDataFile(image) && wrong?.size === 0;
  let faults = 0;
  for (let i = 0; i < view.byteLength; i += l2EntryBytes) {
    const high = view.getUint32(i);
    const low = view.getUint32(i + 4);
    if (high === 0 && low === 0) continue;
    if (isPlain && (high & COMPRESSED_HIGH) === 0) {
      const cluster = ((high & 0x00ffffff) * 2 ** 32 + ((low & 0xfffffe00) >>> 0)) / clusterBytes;
      if (cluster < found.length && (found[cluster] === 1) === high >>> 31 > 0) continue;
    }
    const entry = decodeEntry(image, view, i);
    const span = entry.compressed ? undefined : clustersOf(image, entry);
    if (span === undefined) continue;
    const count = await countOf(survey, span.first);
    if ((count === 1) === entry.copied) continue;
    faults += 1;
    say(result, `ERROR OFLAG_COPIED data cluster: l2_entry=${entry.host.toString(16)} refcount=${count}`);
  }
  return faults;
}

async function clearFlags({ image, result }: Survey): Promise<void> {
  const done = INCOMPATIBLE.dirty | (result.corruptions === 0 && result.checkErrors === 0 ? INCOMPATIBLE.corrupt : 0n);
  if ((image.header.incompatible & done) === 0n) return;
  image.header.incompatible &= ~done;
  await writeFlags(image);
}
