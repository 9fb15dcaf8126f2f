/** Makes all reference counts anew, where the old ones are lost or lie where something else does. */
import { UserError } from '../../base/index.ts';
import { u64be, viewOf } from '../layout.ts';
import { encodeHeader, LIMITS } from './header.ts';
import type { Image } from './image.ts';
import { countCodec, maxCountOf } from './refcounts.ts';

const HEADER_SECTOR_BYTES = 512;

/**
 * Writes counts, and the table that leads to them, to the end of the file; the header changes last, so that
 * a crash leaves the image as it was.
 * @param found References to each cluster of the file, the old counts' own clusters left out
 */
export async function rebuildRefcounts(
  image: Image,
  found: Uint32Array,
  refcountOrder = image.header.refcountOrder,
): Promise<void> {
  const { file, header, refcounts, name } = image;
  const { clusterBytes } = image.geometry;
  const perBlock = (clusterBytes * 8) / 2 ** refcountOrder;
  const first = Math.ceil(file.sizeBytes / clusterBytes);
  const used = new Set<number>();
  for (const [cluster, count] of found.entries()) {
    if (count > maxCountOf(refcountOrder)) {
      throw new UserError(
        `${name}: cluster ${cluster} has ${count} references, which ${2 ** refcountOrder} bits cannot count`,
      );
    }
    if (count > 0) used.add(Math.floor(cluster / perBlock));
  }
  // The new clusters need counts too, and those need clusters.
  let tableClusters = 1;
  for (let total = -1; total !== used.size + tableClusters; ) {
    total = used.size + tableClusters;
    for (let cluster = first; cluster < first + total; cluster += 1) used.add(Math.floor(cluster / perBlock));
    let last = 0;
    for (const block of used) last = Math.max(last, block);
    tableClusters = Math.ceil(((last + 1) * 8) / clusterBytes);
  }
  if (tableClusters * clusterBytes > LIMITS.refcountTableBytes) {
    throw new UserError(`${name}: the refcount table would be larger than ${LIMITS.refcountTableBytes} bytes`);
  }
  const blocks = [...used].sort((a, b) => a - b);
  const end = first + blocks.length + tableClusters;
  const table = new Array<number>((tableClusters * clusterBytes) / 8).fill(0);
  const codec = countCodec(refcountOrder);
  for (const [i, block] of blocks.entries()) {
    const bytes = new Uint8Array(clusterBytes);
    const view = viewOf(bytes);
    for (let j = 0; j < perBlock; j += 1) {
      const cluster = block * perBlock + j;
      codec.put(view, j, cluster >= first && cluster < end ? 1 : (found[cluster] ?? 0));
    }
    table[block] = (first + i) * clusterBytes;
    await file.write(table[block], bytes);
  }
  const tableOffset = (first + blocks.length) * clusterBytes;
  const bytes = new Uint8Array(tableClusters * clusterBytes);
  for (const [i, offset] of table.entries()) u64be.put(viewOf(bytes), i * 8, offset);
  await file.write(tableOffset, bytes);
  await file.flush();
  Object.assign(header, { refcountTableOffset: tableOffset, refcountTableClusters: tableClusters, refcountOrder });
  // One sector has both where the table is and how wide its counts are.
  await file.write(0, encodeHeader(header).subarray(0, HEADER_SECTOR_BYTES));
  await file.flush();
  refcounts.replaceTable(table);
}
