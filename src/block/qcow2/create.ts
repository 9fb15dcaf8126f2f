/** Makes qcow2 images. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { CompressionKind } from '../compression.ts';
import type { BackingReference } from '../format.ts';
import { u64be, viewOf } from '../layout.ts';
import { type LuksOptions, luksPayloadOffset, writeLuksHeader } from '../luks/create.ts';
import { alignUp } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import { CRYPT, encryptionExtension } from './data.ts';
import {
  AUTOCLEAR,
  COMPATIBLE,
  EXTENSION,
  encodeHeader,
  featureNames,
  INCOMPATIBLE,
  LIMITS,
  l1CoverageOf,
  type Qcow2Header,
} from './header.ts';
import { l1EntriesFor } from './l1.ts';
import { countCodec } from './refcounts.ts';

export interface Qcow2CreateOptions {
  readonly sizeBytes: number;
  /** 2 is what qemu-img calls compat=0.10, 3 compat=1.1. */
  readonly version?: 2 | 3;
  readonly clusterBytes?: number;
  readonly refcountBits?: number;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  readonly compression?: CompressionKind;
  readonly backing?: BackingReference;
  /** The name of the external data file; the caller makes the file. */
  readonly dataFile?: string;
  readonly rawDataFile?: boolean;
  /** `aes` is the first method, which new images should not use. */
  readonly encryption?: ({ readonly format: 'luks' } & LuksOptions) | { readonly format: 'aes' };
}

export const QCOW2_DEFAULTS = { clusterBytes: 65536, extendedClusterBytes: 65536, refcountBits: 16 } as const;

/** Writes an empty image to `file`, which must be empty or zeros. @throws UserError that names the option */
export async function createQcow2(file: BlockNode, options: Qcow2CreateOptions): Promise<void> {
  const header = headerFor(options);
  const clusterBytes = 2 ** header.clusterBits;
  const perBlock = (clusterBytes * 8) / 2 ** header.refcountOrder;
  const l1Clusters = Math.max(1, Math.ceil((header.l1Entries * 8) / clusterBytes));
  const { encryption } = options;
  const luksBytes = encryption?.format === 'luks' ? luksPayloadOffset(encryption) : 0;
  const luksClusters = Math.ceil(luksBytes / clusterBytes);
  // The header, the refcount table, its blocks, the L1 table, the LUKS header: in this order.
  let blocks = 1;
  let tableClusters = 1;
  for (let used = 0; ; ) {
    used = 1 + tableClusters + blocks + l1Clusters + luksClusters;
    const neededBlocks = Math.ceil(used / perBlock);
    const neededTable = Math.ceil((neededBlocks * 8) / clusterBytes);
    if (neededBlocks <= blocks && neededTable <= tableClusters) break;
    blocks = Math.max(blocks, neededBlocks);
    tableClusters = Math.max(tableClusters, neededTable);
  }
  const used = 1 + tableClusters + blocks + l1Clusters + luksClusters;
  header.refcountTableOffset = clusterBytes;
  header.refcountTableClusters = tableClusters;
  header.l1Offset = (1 + tableClusters + blocks) * clusterBytes;

  const table = new Uint8Array(tableClusters * clusterBytes);
  const counts = new Uint8Array(blocks * clusterBytes);
  for (let i = 0; i < blocks; i += 1) u64be.put(viewOf(table), i * 8, (1 + tableClusters + i) * clusterBytes);
  const codec = countCodec(header.refcountOrder);
  for (let i = 0; i < used; i += 1) codec.put(viewOf(counts), i, 1);
  await file.write(clusterBytes, table);
  await file.write((1 + tableClusters) * clusterBytes, counts);
  await file.write(header.l1Offset, new Uint8Array(alignUp(Math.max(1, header.l1Entries * 8), clusterBytes)));
  if (encryption?.format === 'luks') {
    const offset = header.l1Offset + l1Clusters * clusterBytes;
    await file.write(offset + (luksClusters - 1) * clusterBytes, new Uint8Array(clusterBytes));
    await writeLuksHeader(file, offset, encryption);
    const data = encryptionExtension.write({ offset, length: luksBytes });
    header.extensions.unshift({ type: EXTENSION.encryption, data });
  }
  await file.write(0, encodeHeader(header));
  await file.flush();
}

function headerFor(options: Qcow2CreateOptions): Qcow2Header {
  const { sizeBytes, version = 3, clusterBytes = QCOW2_DEFAULTS.clusterBytes, refcountBits = 16 } = options;
  const {
    lazyRefcounts = false,
    extendedL2 = false,
    compression = 'zlib',
    backing,
    dataFile,
    rawDataFile = false,
  } = options;
  const clusterBits = Math.log2(clusterBytes);
  if (!Number.isInteger(clusterBits) || clusterBits < LIMITS.clusterBitsMin || clusterBits > LIMITS.clusterBitsMax) {
    throw new UserError('Cluster size must be a power of two between 512 and 2048k');
  }
  const refcountOrder = Math.log2(refcountBits);
  if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > LIMITS.refcountOrderMax) {
    throw new UserError('Refcount width must be a power of two and may not exceed 64 bits');
  }
  const needsV3 = (isUsed: boolean, what: string) => {
    if (isUsed && version < 3)
      throw new UserError(`${what} only supported with compatibility level 1.1 and above (use version=v3 or greater)`);
  };
  needsV3(lazyRefcounts, 'Lazy refcounts');
  needsV3(refcountBits !== 16, 'Different refcount widths than 16 bits');
  needsV3(extendedL2, 'Extended L2 entries are');
  needsV3(dataFile !== undefined, 'External data files are');
  needsV3(compression !== 'zlib', 'Non-zlib compression type is');
  if (extendedL2 && clusterBits < 14) {
    throw new UserError('Extended L2 entries are only supported with cluster sizes of at least 16384 bytes');
  }
  if (options.encryption !== undefined && dataFile !== undefined) {
    throw new UserError('Encryption and an external data file cannot be used together');
  }
  if (rawDataFile && dataFile === undefined) throw new UserError('data-file-raw requires data-file');
  if (rawDataFile && backing !== undefined)
    throw new UserError('Backing file and data-file-raw cannot be used at the same time');
  const extensions = [];
  if (dataFile !== undefined) extensions.push({ type: EXTENSION.dataFile, data: encodeUtf8(dataFile) });
  if (version >= 3 && clusterBytes >= 2048) extensions.push(featureNames());
  return {
    version,
    clusterBits,
    size: sizeBytes,
    cryptMethod: CRYPT[options.encryption?.format ?? 'none'],
    l1Entries: Math.max(1, l1EntriesFor(l1CoverageOf(clusterBits, extendedL2), sizeBytes)),
    l1Offset: 0,
    refcountTableOffset: 0,
    refcountTableClusters: 0,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible:
      (dataFile === undefined ? 0n : INCOMPATIBLE.dataFile) |
      (extendedL2 ? INCOMPATIBLE.extendedL2 : 0n) |
      (compression === 'zlib' ? 0n : INCOMPATIBLE.compression),
    compatible: lazyRefcounts ? COMPATIBLE.lazyRefcounts : 0n,
    autoclear: rawDataFile ? AUTOCLEAR.rawDataFile : 0n,
    refcountOrder,
    headerLength: 112,
    compressionType: compression === 'zstd' ? 1 : 0,
    tail: new Uint8Array(0),
    extensions,
    ...(backing === undefined ? {} : { backingFile: backing.filename, backingFormat: backing.format }),
  };
}

/** Sizes of an image, as `measure` tells them. */
export interface Measure {
  readonly requiredBytes: number;
  readonly fullyAllocatedBytes: number;
}

/** How large a file would become that holds `dataClusters` clusters of a disk of `sizeBytes`. */
export function measureQcow2(
  sizeBytes: number,
  dataBytes: number,
  options: Pick<Qcow2CreateOptions, 'clusterBytes' | 'refcountBits' | 'extendedL2'>,
): Measure {
  const { clusterBytes = QCOW2_DEFAULTS.clusterBytes, refcountBits = 16, extendedL2 = false } = options;
  const diskBytes = alignUp(sizeBytes, clusterBytes);
  const l2Entries = clusterBytes / (extendedL2 ? 16 : 8);
  const l2Clusters = Math.ceil(diskBytes / clusterBytes / l2Entries);
  const l1Clusters = Math.ceil((l2Clusters * 8) / clusterBytes);
  const others = 1 + Math.max(1, l1Clusters) + l2Clusters;
  const refcountClusters = refcountClustersFor(others + diskBytes / clusterBytes, clusterBytes, refcountBits);
  const metadata = (others + refcountClusters) * clusterBytes;
  return { requiredBytes: metadata + dataBytes, fullyAllocatedBytes: metadata + diskBytes };
}

function refcountClustersFor(clusters: number, clusterBytes: number, refcountBits: number): number {
  const perBlock = (clusterBytes * 8) / refcountBits;
  const perTable = clusterBytes / 8;
  let total = 0;
  for (;;) {
    const blocks = Math.ceil((clusters + total) / perBlock);
    const next = blocks + Math.ceil(blocks / perTable);
    if (next === total) return total;
    total = next;
  }
}
