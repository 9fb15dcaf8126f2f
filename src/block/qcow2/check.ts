/** Finding and repairing wrong reference counts (docs/interop/qcow2.txt, "Host cluster management"). */
import type { CheckResult, Repair } from '../format.ts';
import { alignUp } from '../request.ts';
import { bitmapDirectory, bitmapTable } from './bitmaps.ts';
import { EXTENSION, INCOMPATIBLE, LIMITS } from './header.ts';
import { commit, hasDataFile, type Image, readL1, writeFlags } from './image.ts';
import { clustersOf, decodeEntry } from './mapping.ts';
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
  /** Where the file ends, in clusters, rounded up. */
  readonly clusters: number;
}

/** Checks the image and repairs what it may. The image must have nothing in flight. */
export async function checkImage(image: Image, repair: Repair): Promise<CheckResult> {
  const survey = await surveyImage(image);
  const { result } = survey;
  await compareCounts(survey, repair);
  await checkCopied(survey, repair);
  if (repair !== 'none') {
    await commit(image);
    if (repair === 'all' || result.corruptions === 0) await clearFlags(survey);
  }
  return result;
}

async function surveyImage(image: Image): Promise<Survey> {
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
  const survey: Survey = { image, result, found: new Uint32Array(Math.min(clusters, CLUSTERS_MAX)), clusters };
  await countAll(survey);
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
  const { header, refcounts, geometry } = image;
  const { clusterBytes } = geometry;
  refer(survey, 'the header', 0, clusterBytes);
  refer(survey, 'the active L1 table', header.l1Offset, header.l1Entries * 8);
  await countL1(survey, image.l1.tables, true);
  refer(survey, 'the snapshot table', header.snapshotsOffset, await snapshotTableBytes(image));
  for (const { l1Offset, l1Entries, name } of image.snapshots) {
    refer(survey, `the L1 table of snapshot ${name}`, l1Offset, l1Entries * 8);
    await countL1(survey, (await readL1(image, l1Offset, l1Entries, clusterBytes)).tables, false);
  }
  refer(survey, 'the refcount table', header.refcountTableOffset, header.refcountTableClusters * clusterBytes);
  for (const block of refcounts.table) if (block !== 0) refer(survey, 'a refcount block', block, clusterBytes);
  const directory = bitmapDirectory(header);
  if (directory !== undefined) refer(survey, 'the bitmap directory', directory.offset, directory.bytes);
  for (const bitmap of image.bitmaps) {
    refer(survey, `the table of bitmap ${bitmap.name}`, bitmap.tableOffset, bitmap.tableEntries * 8);
    for (const entry of await bitmapTable(image, bitmap))
      if (entry > 1) refer(survey, 'bitmap data', entry, clusterBytes);
  }
  const encryption = header.extensions.find(({ type }) => type === EXTENSION.encryption);
  if (encryption !== undefined) survey.result.checkErrors += 1;
}

async function countL1(survey: Survey, tables: readonly number[], isActive: boolean): Promise<void> {
  const { image, result } = survey;
  const { clusterBytes, l2EntryBytes } = image.geometry;
  let expectedHost = 0;
  for (const table of tables) {
    if (table === 0) continue;
    refer(survey, 'an L2 table', table, clusterBytes);
    if (table + clusterBytes > alignUp(image.file.sizeBytes, clusterBytes)) continue;
    for (let at = 0; at < clusterBytes; at += image.l2.pageBytes) {
      const page = await image.l2.get(table + at);
      for (let i = 0; i < page.bytes.length; i += l2EntryBytes) {
        const entry = decodeEntry(image, page.view, i);
        const isAtZero = entry.copied && hasDataFile(image);
        if (entry.host === 0 && !isAtZero) continue;
        if (isActive) {
          result.allocatedClusters += 1;
          if (entry.compressed) {
            result.compressedClusters += 1;
            result.fragmentedClusters += 1;
          } else {
            if (expectedHost !== 0 && entry.host !== expectedHost) result.fragmentedClusters += 1;
            expectedHost = entry.host + clusterBytes;
          }
        }
        if (clustersOf(image, entry) === undefined) continue;
        const [what, bytes] = entry.compressed ? ['compressed data', entry.compressedBytes] : ['data', clusterBytes];
        refer(survey, what as string, entry.host, bytes as number);
      }
    }
  }
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
  for (const { cluster, refcount, reference } of wrong) {
    if (cluster >= found.length) {
      await image.refcounts.set(cluster, 0);
      continue;
    }
    const isLeak = refcount > reference;
    if (isLeak) result.leaks += 1;
    else result.corruptions += 1;
    const mayFix = repair === 'all' || (repair === 'leaks' && isLeak);
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
async function checkCopied({ image, result }: Survey, repair: Repair): Promise<void> {
  const { clusterBytes, l2EntryBytes } = image.geometry;
  let wrong = 0;
  for (const [index, table] of image.l1.tables.entries()) {
    if (table === 0 || table + clusterBytes > alignUp(image.file.sizeBytes, clusterBytes)) continue;
    const refcount = await image.refcounts.get(table / clusterBytes);
    if ((refcount === 1) !== image.l1.copied[index]) {
      wrong += 1;
      say(
        result,
        `ERROR OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${table.toString(16)} refcount=${refcount}`,
      );
    }
    for (let at = 0; at < clusterBytes; at += image.l2.pageBytes) {
      for (let i = 0; i < image.l2.pageBytes; i += l2EntryBytes) {
        const entry = decodeEntry(image, (await image.l2.get(table + at)).view, i);
        const span = entry.compressed ? undefined : clustersOf(image, entry);
        if (span === undefined) continue;
        const count = await image.refcounts.get(span.first);
        if ((count === 1) === entry.copied) continue;
        wrong += 1;
        say(result, `ERROR OFLAG_COPIED data cluster: l2_entry=${entry.host.toString(16)} refcount=${count}`);
      }
    }
  }
  if (repair === 'all' && wrong > 0) {
    await refreshCopied(image);
    result.corruptionsFixed += wrong;
  } else {
    result.corruptions += wrong;
  }
}

async function clearFlags({ image, result }: Survey): Promise<void> {
  const done = INCOMPATIBLE.dirty | (result.corruptions === 0 && result.checkErrors === 0 ? INCOMPATIBLE.corrupt : 0n);
  if ((image.header.incompatible & done) === 0n) return;
  image.header.incompatible &= ~done;
  await writeFlags(image);
}
