/** Makes VMDK images. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { u32le, viewOf } from '../layout.ts';
import { growFile } from '../mapped.ts';
import { alignUp } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import { descriptorText, NO_PARENT, type VmdkAdapter, type VmdkExtent } from './descriptor.ts';
import { DEFLATE, FLAG, headerLayout, MAGIC, NEWLINES, SECTOR_BYTES } from './layout.ts';

export const VMDK_SUBFORMATS = [
  'monolithicSparse',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
] as const;
export type VmdkSubformat = (typeof VMDK_SUBFORMATS)[number];

export interface VmdkCreateOptions {
  readonly sizeBytes: number;
  readonly subformat?: VmdkSubformat;
  /** The file's own name, without folders: the descriptor names it, and the names of extents begin with it. */
  readonly filename: string;
  /** A random number of 32 bits that names the content. */
  readonly cid: number;
  readonly parent?: { readonly filename: string; readonly cid: number };
  readonly adapter?: VmdkAdapter;
  readonly hardwareVersion?: string;
  readonly toolsVersion?: string;
  /** Grains can be marked as zeros. */
  readonly zeroedGrain?: boolean;
  /** Makes one of the other files that the disk consists of; it is closed here. */
  readonly createExtent: (filename: string) => Promise<BlockNode>;
}

const GRAIN_SECTORS = 128;
const TABLE_ENTRIES = 512;
const DESCRIPTOR_SECTORS = 20;
const SPLIT_BYTES = 2 ** 31;
const SIZE_MAX_BYTES = 2 ** 46;

/** Writes an empty image to `file`, which must be empty. @throws UserError that names the option */
export async function createVmdk(file: BlockNode, options: VmdkCreateOptions): Promise<void> {
  const { sizeBytes, subformat = 'monolithicSparse', filename, parent, zeroedGrain = false } = options;
  const isFlat = subformat === 'monolithicFlat' || subformat === 'twoGbMaxExtentFlat';
  const isSplit = subformat === 'twoGbMaxExtentSparse' || subformat === 'twoGbMaxExtentFlat';
  if (isFlat && parent !== undefined) throw new UserError("Flat image can't have backing file");
  if (isFlat && zeroedGrain) throw new UserError("Flat image can't enable zeroed grain");
  if (sizeBytes > SIZE_MAX_BYTES)
    throw new UserError(`a VMDK disk has at most ${SIZE_MAX_BYTES} bytes, not ${sizeBytes}`);
  if (/["\n\r]/.test(`${filename}${parent?.filename ?? ''}`))
    throw new UserError('a file name with quotes or line ends cannot be written into a VMDK descriptor');
  const isCompressed = subformat === 'streamOptimized';
  if (!isFlat && !isSplit) {
    const extent: VmdkExtent = { access: 'RW', sectors: sizeBytes / SECTOR_BYTES, type: 'SPARSE', filename, offset: 0 };
    await writeSparse(file, { sizeBytes, isCompressed, zeroedGrain, descriptor: describe(options, [extent]) });
    return file.flush();
  }
  const extents: VmdkExtent[] = [];
  const [, stem, ending] = /^(.*?)(\.[^.]*)?$/.exec(filename)!;
  for (let at = 0; at < sizeBytes || extents.length === 0; at += SPLIT_BYTES) {
    const length = isSplit ? Math.min(SPLIT_BYTES, sizeBytes - at) : sizeBytes;
    const number = String(extents.length + 1).padStart(3, '0');
    const name = `${stem}-${isSplit ? `${isFlat ? 'f' : 's'}${number}` : 'flat'}${ending ?? ''}`;
    const child = await options.createExtent(name);
    try {
      if (isFlat) await growFile(child, length);
      else await writeSparse(child, { sizeBytes: length, isCompressed, zeroedGrain });
    } finally {
      await child.close();
    }
    extents.push({
      access: 'RW',
      sectors: length / SECTOR_BYTES,
      type: isFlat ? 'FLAT' : 'SPARSE',
      filename: name,
      offset: 0,
    });
    if (!isSplit) break;
  }
  await file.write(0, encodeUtf8(describe(options, extents)));
  await file.flush();
}

function describe(options: VmdkCreateOptions, extents: readonly VmdkExtent[]): string {
  const { subformat = 'monolithicSparse', cid, parent, adapter = 'ide' } = options;
  return descriptorText({
    cid,
    parentCid: parent?.cid ?? NO_PARENT,
    createType: subformat,
    ...(parent === undefined ? {} : { parentHint: parent.filename }),
    extents,
    adapter,
    hardwareVersion: options.hardwareVersion ?? '4',
    toolsVersion: options.toolsVersion ?? '2147483647',
  });
}

interface SparseCreateOptions {
  readonly sizeBytes: number;
  readonly isCompressed: boolean;
  readonly zeroedGrain: boolean;
  readonly descriptor?: string;
}

/** A sparse extent with all of its grain tables in place, twice, and all empty. */
async function writeSparse(file: BlockNode, options: SparseCreateOptions): Promise<void> {
  const { sizeBytes, isCompressed, zeroedGrain, descriptor } = options;
  const text = encodeUtf8(descriptor ?? '');
  if (text.length > DESCRIPTOR_SECTORS * SECTOR_BYTES)
    throw new UserError(`the descriptor would have ${text.length} bytes; use a shorter name for the backing file`);
  const capacity = Math.ceil(sizeBytes / SECTOR_BYTES);
  const tables = Math.ceil(capacity / (GRAIN_SECTORS * TABLE_ENTRIES));
  const tableSectors = (TABLE_ENTRIES * 4) / SECTOR_BYTES;
  const directorySectors = Math.ceil((tables * 4) / SECTOR_BYTES);
  const redundantOffset = 1 + DESCRIPTOR_SECTORS;
  const directoryOffset = redundantOffset + directorySectors + tables * tableSectors;
  const overhead = alignUp(directoryOffset + directorySectors + tables * tableSectors, GRAIN_SECTORS);
  const header = headerLayout.write({
    magic: MAGIC,
    version: isCompressed ? 3 : zeroedGrain ? 2 : 1,
    flags:
      FLAG.newlines |
      FLAG.redundant |
      (zeroedGrain ? FLAG.zeroGrains : 0) |
      (isCompressed ? FLAG.compressed | FLAG.markers : 0),
    capacity,
    grainSectors: GRAIN_SECTORS,
    descriptorOffset: descriptor === undefined ? 0 : 1,
    descriptorSectors: descriptor === undefined ? 0 : DESCRIPTOR_SECTORS,
    entriesPerTable: TABLE_ENTRIES,
    redundantOffset,
    directoryOffset,
    overhead,
    isDirty: 0,
    newlines: NEWLINES,
    compression: isCompressed ? DEFLATE : 0,
    rest: new Uint8Array(433),
  });
  await growFile(file, overhead * SECTOR_BYTES);
  await file.write(0, header);
  await file.write(SECTOR_BYTES, text);
  for (const start of [redundantOffset, directoryOffset]) {
    const directory = new Uint8Array(tables * 4);
    for (let i = 0; i < tables; i += 1) {
      u32le.put(viewOf(directory), i * 4, start + directorySectors + i * tableSectors);
    }
    await file.write(start * SECTOR_BYTES, directory);
  }
}
