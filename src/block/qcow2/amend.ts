/** Changing how an existing image is laid out: the version, the width of counts, flags (qemu-img amend). */
import { UserError } from '../../base/index.ts';
import { cryptoOf } from '../crypto/sectors.ts';
import type { ImageChanges, KeySlotChange, OpenOptions } from '../format.ts';
import { amendKeySlots } from '../luks/amend.ts';
import { surveyImage } from './check.ts';
import { luksPlace } from './data.ts';
import { AUTOCLEAR, COMPATIBLE, EXTENSION, encodeHeader, featureNames, INCOMPATIBLE } from './header.ts';
import { commit, hasDataFile, type Image, readL1, settle } from './image.ts';
import { clustersOf, dataEntry, decodeEntry, EMPTY_ENTRY, makeTableWritable, putEntry } from './mapping.ts';
import { rebuildRefcounts } from './rebuild.ts';

const REFCOUNT_ORDER_V2 = 4;
const REFCOUNT_ORDER_MAX = 6;

/** The caller holds the lock; nothing is in flight. @throws UserError for what cannot be changed; nothing is then */
export async function amendImage(image: Image, changes: ImageChanges): Promise<void> {
  const { header } = image;
  const { version = header.version, lazyRefcounts, refcountBits, rawDataFile } = changes;
  const order = refcountBits === undefined ? header.refcountOrder : orderOf(refcountBits);
  if (version < 3 && order !== REFCOUNT_ORDER_V2) {
    throw new UserError(
      refcountBits === undefined || header.version < 3
        ? 'compat=0.10 requires refcount_bits=16'
        : 'Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)',
    );
  }
  if (lazyRefcounts === true && version < 3) {
    throw new UserError(
      'Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)',
    );
  }
  if (rawDataFile === true && !hasDataFile(image)) throw new UserError('data-file-raw requires data-file');
  if (version < header.version) refuseDowngrade(image);
  await settle(image);
  if (version > header.version) {
    header.version = version;
    if (image.geometry.clusterBytes >= 2048) header.extensions.push(featureNames());
  }
  if (lazyRefcounts !== undefined) header.compatible = lazyRefcounts ? COMPATIBLE.lazyRefcounts : 0n;
  if (rawDataFile !== undefined) setFlag(header, AUTOCLEAR.rawDataFile, rawDataFile);
  await rewriteHeader(image);
  if (order !== header.refcountOrder) await changeWidth(image, order);
  if (version < header.version) await downgrade(image);
}

function orderOf(bits: number): number {
  const order = Math.log2(bits);
  if (Number.isInteger(order) && order >= 0 && order <= REFCOUNT_ORDER_MAX) return order;
  throw new UserError('Refcount width must be a power of two and may not exceed 64 bits');
}

function setFlag(header: { autoclear: bigint }, flag: bigint, isOn: boolean): void {
  header.autoclear = isOn ? header.autoclear | flag : header.autoclear & ~flag;
}

/** Writes the header with all that it names. */
export async function rewriteHeader(image: Image): Promise<void> {
  await commit(image);
  await image.file.write(0, encodeHeader(image.header));
  await image.file.flush();
}

/** Counts everything, and writes the counts anew beside the old ones; these are free when the header has changed. */
async function changeWidth(image: Image, order: number): Promise<void> {
  const { found, result } = await surveyImage(image, false);
  if (result.corruptions + result.checkErrors > 0) {
    throw new UserError(`${image.name}: its tables are wrong; repair it with vireo-img check -r all first`);
  }
  await rebuildRefcounts(image, found, order);
}

function refuseDowngrade({ header, name, bitmaps, snapshots, sizeBytes }: Image): void {
  const flags = header.incompatible & ~INCOMPATIBLE.dirty;
  if (flags !== 0n) {
    throw new UserError(`${name}: Cannot downgrade an image with incompatible features set: 0x${flags.toString(16)}`);
  }
  if (bitmaps.length > 0) throw new UserError(`${name}: Cannot downgrade an image with bitmaps: remove them first`);
  if (snapshots.some(({ diskBytes }) => diskBytes !== sizeBytes)) {
    throw new UserError(`${name}: Internal snapshots prevent downgrade of image: the disk had another size then`);
  }
}

async function downgrade(image: Image): Promise<void> {
  const { header } = image;
  await storeZeros(image);
  await settle(image);
  Object.assign(header, { version: 2, compatible: 0n, autoclear: 0n, incompatible: 0n });
  const kept = header.extensions.filter(({ type }) => type !== EXTENSION.featureNames);
  header.extensions.splice(0, header.extensions.length, ...kept);
  await rewriteHeader(image);
}

/** Version 2 knows no zero clusters: they become clusters of zeros, or nothing where no backing file shows through. */
async function storeZeros(image: Image): Promise<void> {
  const { l1, l2, snapshots, geometry, file } = image;
  const { clusterBytes, l2Coverage } = geometry;
  // Tables that a snapshot shares are changed for all who share them: what they say stays the same.
  const tables = new Set<number>();
  for (const { l1Offset, l1Entries } of snapshots) {
    for (const table of (await readL1(image, l1Offset, l1Entries, clusterBytes)).tables) tables.add(table);
  }
  for (const [index, table] of l1.tables.entries()) {
    if (table !== 0 && !tables.has(table)) await makeTableWritable(image, index * l2Coverage);
    tables.add(l1.tables[index]);
  }
  tables.delete(0);
  const zeros = new Uint8Array(clusterBytes);
  for (const table of tables) {
    const users = await image.refcounts.get(table / clusterBytes);
    for (let at = 0; at < clusterBytes; at += l2.pageBytes) {
      const page = await l2.get(table + at);
      for (let place = 0; place < page.bytes.length; place += geometry.l2EntryBytes) {
        const old = decodeEntry(image, page.view, place);
        if (!old.zero) continue;
        let entry = EMPTY_ENTRY;
        if (image.header.backingFile !== undefined) {
          const { first } = await image.refcounts.allocate(1);
          for (let i = 1; i < users; i += 1) await image.refcounts.increment(first, 1);
          await file.write(first * clusterBytes, zeros);
          entry = { ...dataEntry(image, first * clusterBytes), copied: users === 1 };
        }
        putEntry(image, page, place, entry);
        const span = clustersOf(image, old);
        for (let i = 0; span !== undefined && i < users; i += 1) image.refcounts.free(span.first, span.count);
      }
    }
    await commit(image);
  }
}

/** Key slots of an image that is encrypted with LUKS. */
export async function amendImageKeys(
  image: Image,
  options: OpenOptions,
  change: KeySlotChange,
  force: boolean,
): Promise<void> {
  const { name, file } = image;
  const place = luksPlace(image.header, name);
  if (place === undefined)
    throw new UserError('Only LUKS encryption options can be amended for qcow2 with encrypt.* options');
  const crypto = cryptoOf(name, options.crypto);
  await amendKeySlots({ file, offset: place.offset, name, crypto }, options.secret, change, force);
}
