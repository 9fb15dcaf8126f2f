/** Opens VMDK images: one file, or a descriptor and the files that it names. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { type ImageInfo, type ImageNode, type OpenOptions, weakRandom } from '../format.ts';
import { u32le, viewOf } from '../layout.ts';
import { type DiskMap, mappedNode, newCheckResult, type Run } from '../mapped.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';
import {
  cidPosition,
  cidText,
  NO_PARENT,
  parseDescriptor,
  type VmdkDescriptor,
  type VmdkExtent,
} from './descriptor.ts';
import { DESCRIPTOR_MAX_BYTES, headerLayout, isSparse, readSparseHeader, SECTOR_BYTES } from './layout.ts';
import { openSparse, type SparseExtent } from './sparse.ts';

const CREATE_TYPES: readonly string[] = [
  'monolithicSparse',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
  'vmfs',
  'vmfsSparse',
];
const CACHE_BYTES = 16 * 2 ** 20;

/** An extent at its place on the disk. */
interface Extent {
  readonly start: number;
  readonly sizeBytes: number;
  readonly filename: string;
  /** As the descriptor calls it; empty where the image is one file. */
  readonly type: string;
  readonly file?: BlockNode;
  readonly sparse?: SparseExtent;
  /** Where a flat extent begins in its file. */
  readonly at: number;
}

/** Opens the image in `file`. @throws UserError when it is not usable; `file` stays open then */
export async function openVmdk(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name } = options;
  const readOnly = options.readOnly ?? file.readOnly;
  const text = await readDescriptor(file, name);
  const descriptor = text === undefined ? undefined : parseDescriptor(decodeUtf8(text.bytes), name);
  const opened: BlockNode[] = [];
  let backing: BlockNode | undefined;
  try {
    const extents =
      text === undefined || text.offset > 0
        ? [await soleExtent(file, options, readOnly)]
        : await describedExtents(descriptor!, options, readOnly, opened);
    backing = await openParent(descriptor, options);
    const cid = cidOf(file, text, descriptor, options);
    return assemble({ extents, backing, file, opened, options, readOnly, descriptor, cid });
  } catch (error) {
    await backing?.close();
    for (const extent of opened) await extent.close();
    throw error;
  }
}

interface DescriptorText {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** The descriptor inside a sparse extent, or the whole file; an extent of a split disk has none. */
async function readDescriptor(file: BlockNode, name: string): Promise<DescriptorText | undefined> {
  const head = new Uint8Array(Math.min(4, file.sizeBytes));
  await file.read(0, head);
  let offset = 0;
  let length = file.sizeBytes;
  if (isSparse(head)) {
    const { header } = await readSparseHeader(file, name);
    if (header.descriptorOffset === 0) return undefined;
    offset = header.descriptorOffset * SECTOR_BYTES;
    length = Math.min(header.descriptorSectors * SECTOR_BYTES, file.sizeBytes - offset);
  }
  if (length > DESCRIPTOR_MAX_BYTES)
    throw new UserError(`${name}: not a usable VMDK image: a descriptor has at most ${DESCRIPTOR_MAX_BYTES} bytes`);
  const bytes = new Uint8Array(length);
  await file.read(offset, bytes);
  return { offset, bytes };
}

async function soleExtent(file: BlockNode, options: OpenOptions, readOnly: boolean): Promise<Extent> {
  const { name, compression } = options;
  const sparse = await openSparse(file, { name, readOnly, compression, cacheBytes: CACHE_BYTES });
  return { start: 0, sizeBytes: sparse.sizeBytes, filename: name, type: '', file, sparse, at: 0 };
}

async function describedExtents(
  descriptor: VmdkDescriptor,
  options: OpenOptions,
  readOnly: boolean,
  opened: BlockNode[],
): Promise<Extent[]> {
  const { name } = options;
  const { createType, extents } = descriptor;
  if (!CREATE_TYPES.includes(createType))
    throw new UserError(`${name}: its createType is ${createType}; ${CREATE_TYPES.join(', ')} are supported`);
  if (extents.length === 0) throw new UserError(`${name}: not a usable VMDK descriptor: it names no extents`);
  const result: Extent[] = [];
  let start = 0;
  for (const extent of extents) {
    const cacheBytes = CACHE_BYTES / extents.length;
    const next = await openExtent(extent, { ...options, cacheBytes, start, readOnly }, opened);
    result.push(next);
    start += next.sizeBytes;
  }
  return result;
}

async function openExtent(
  extent: VmdkExtent,
  options: OpenOptions & { readonly cacheBytes: number; readonly start: number; readonly readOnly: boolean },
  opened: BlockNode[],
): Promise<Extent> {
  const { name, start, compression, cacheBytes, readOnly } = options;
  const { type, filename, sectors, access } = extent;
  const sizeBytes = sectors * SECTOR_BYTES;
  if (type === 'ZERO') return { start, sizeBytes, filename: '', type, at: 0 };
  const isFlat = type === 'FLAT' || type === 'VMFS';
  if (!isFlat && type !== 'SPARSE' && type !== 'VMFSSPARSE')
    throw new UserError(
      `${name}: its extent ${filename} is of type ${type}; SPARSE, FLAT, VMFS, VMFSSPARSE and ZERO are supported`,
    );
  if (access === 'NOACCESS') throw new UserError(`${name}: its extent ${filename} may not be accessed`);
  if (options.resolveDataFile === undefined)
    throw new UserError(`${name}: its data is in ${filename}, and no other file may be opened`);
  const file = await options.resolveDataFile(filename!);
  opened.push(file);
  const path = beside(name, filename!);
  const at = extent.offset * SECTOR_BYTES;
  if (isFlat) {
    if (at + sizeBytes > file.sizeBytes)
      throw new UserError(`${name}: its extent ${filename} has ${file.sizeBytes} bytes; ${at + sizeBytes} are needed`);
    return { start, sizeBytes, filename: path, type, file, at };
  }
  const isFixed = readOnly || access === 'RDONLY';
  const sparse = await openSparse(file, { name: path, readOnly: isFixed, compression, cacheBytes });
  if (sparse.sizeBytes < sizeBytes)
    throw new UserError(
      `${name}: its extent ${filename} has ${sparse.header.capacity} sectors; it should have ${sectors}`,
    );
  return { start, sizeBytes, filename: path, type, file, sparse, at: 0 };
}

function beside(image: string, filename: string): string {
  return filename.startsWith('/') ? filename : image.slice(0, image.lastIndexOf('/') + 1) + filename;
}

async function openParent(descriptor: VmdkDescriptor | undefined, options: OpenOptions) {
  const hint = descriptor?.parentHint;
  if (hint === undefined || options.withoutBacking === true) return undefined;
  const { name, resolveBacking } = options;
  if (resolveBacking === undefined)
    throw new UserError(`${name}: it has the backing file ${hint}, and none may be opened`);
  const backing = await resolveBacking({ filename: hint, format: 'vmdk' });
  const found = (backing as Partial<ImageNode>).info?.specific?.data.cid;
  if (typeof found === 'number' && found !== descriptor!.parentCid) {
    await backing.close();
    const wanted = cidText(descriptor!.parentCid);
    throw new UserError(`${name}: its backing file ${hint} was changed: its CID is ${cidText(found)}, not ${wanted}`);
  }
  return backing;
}

interface Cid {
  readonly value: number;
  /** Puts a new one into the descriptor. */
  renew(): Promise<void>;
}

function cidOf(
  file: BlockNode,
  text: DescriptorText | undefined,
  descriptor: VmdkDescriptor | undefined,
  options: OpenOptions,
): Cid {
  let value = descriptor?.cid ?? NO_PARENT;
  const position = text === undefined ? undefined : cidPosition(String.fromCharCode(...text.bytes.subarray(0, 4096)));
  return {
    get value() {
      return value;
    },
    async renew() {
      if (text === undefined || position === undefined) return;
      // 0xffffffff means no parent, and 0xfffffffe is what a new disk may have.
      value = u32le.get(viewOf((options.random ?? weakRandom)(4)), 0) % 0xfffffffe;
      await file.write(text.offset + position, encodeUtf8(cidText(value)));
    },
  };
}

interface Parts {
  readonly extents: readonly Extent[];
  readonly backing: BlockNode | undefined;
  readonly file: BlockNode;
  readonly opened: readonly BlockNode[];
  readonly options: OpenOptions;
  readonly readOnly: boolean;
  readonly descriptor: VmdkDescriptor | undefined;
  readonly cid: Cid;
}

function assemble(parts: Parts): ImageNode {
  const { extents, backing, file, opened, options, readOnly, cid } = parts;
  const { name } = options;
  const last = extents[extents.length - 1];
  const map = mapOf(parts);
  const packer = extents.length === 1 && last.sparse?.isCompressed === true ? last.sparse : undefined;
  const grainBytes = extents[0].sparse?.unitBytes;
  const files = opened.includes(file) ? opened : [...opened, file];
  return mappedNode({
    format: 'vmdk',
    name,
    sizeBytes: last.start + last.sizeBytes,
    readOnly,
    preferredBytes: grainBytes ?? file.limits.preferredBytes,
    info: () => infoOf(parts, cid.value, packer !== undefined),
    map,
    backing,
    files,
    ...(packer === undefined ? {} : { packed: { pack: packer.pack, store: packer.allocateStored } }),
    async check() {
      const result = newCheckResult();
      for (const { sparse, start } of extents) await sparse?.check(result, start);
      return result;
    },
  });
}

function mapOf({ extents, opened, file, options, cid }: Parts): DiskMap {
  const { name } = options;
  const sparse = extents.filter((extent) => extent.sparse !== undefined);
  const unitBytes = sparse.reduce((unit, extent) => Math.max(unit, extent.sparse!.unitBytes), 1);
  const isUneven = sparse.some((extent) => extent.start % unitBytes !== 0);
  const hasZero = sparse.length > 0 && sparse.every((extent) => extent.sparse!.zero !== undefined);
  const extentAt = (offset: number): Extent => {
    let [low, high] = [0, extents.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (extents[middle].start <= offset) low = middle;
      else high = middle - 1;
    }
    return extents[low];
  };
  /** Calls `visit` for the parts of a range that lie in one extent; the last one may end beyond the disk. */
  const eachExtent = async (
    offset: number,
    length: number,
    visit: (extent: SparseExtent, at: number, done: number, n: number) => Promise<void>,
  ) => {
    if (isUneven) throw new IoError('io', `${name}: its extents do not begin where grains do, so it can only be read`);
    for (let done = 0; done < length; ) {
      const extent = extentAt(offset + done);
      if (extent.sparse === undefined)
        throw new IoError('read-only', `${name}: its extents of zeros cannot be written`);
      const isLast = extent === extents[extents.length - 1];
      const n = isLast ? length - done : Math.min(length - done, extent.start + extent.sizeBytes - offset - done);
      await visit(extent.sparse, offset + done - extent.start, done, n);
      done += n;
    }
  };
  return {
    unitBytes,
    async lookup(offset, length): Promise<Run> {
      const extent = extentAt(offset);
      const from = offset - extent.start;
      const n = Math.min(length, extent.sizeBytes - from);
      if (extent.file === undefined) return { kind: 'zero', length: n };
      if (extent.sparse === undefined) {
        return { kind: 'data', length: n, file: extent.file, at: extent.at + from, isRaw: true };
      }
      const run = await extent.sparse.lookup(from, n);
      return run.kind === 'packed' ? { ...run, start: run.start + extent.start } : run;
    },
    allocate: (offset, bytes) =>
      eachExtent(offset, bytes.length, (extent, at, done, n) => extent.allocate(at, bytes.subarray(done, done + n))),
    ...(hasZero
      ? {
          zero: (offset: number, length: number) =>
            eachExtent(offset, length, (extent, at, _, n) => extent.zero!(at, n)),
        }
      : {}),
    prepare: cid.renew,
    pendingBytes: () => sparse.reduce((sum, extent) => sum + extent.sparse!.pendingBytes(), 0),
    async commit() {
      for (const extent of sparse) if (!extent.file!.readOnly) await extent.sparse!.commit();
      for (const one of [...opened, file]) if (!one.readOnly) await one.flush();
    },
  };
}

function infoOf({ extents, descriptor }: Parts, cid: number, isCompressed: boolean): ImageInfo {
  const clusterBytes = extents[0].sparse?.unitBytes;
  const data = {
    cid,
    'parent-cid': descriptor?.parentCid ?? NO_PARENT,
    'create-type': descriptor?.createType ?? '',
    extents: extents.map(({ sizeBytes, filename, type, sparse }) => ({
      ...(sparse?.isCompressed === true ? { compressed: true } : {}),
      'virtual-size': sizeBytes,
      filename,
      ...(sparse === undefined ? {} : { 'cluster-size': sparse.unitBytes }),
      format: type,
    })),
  };
  const hint = descriptor?.parentHint;
  return {
    ...(clusterBytes === undefined ? {} : { clusterBytes }),
    ...(hint === undefined ? {} : { backing: { filename: hint, format: 'vmdk' } }),
    ...(isCompressed ? { needsCompressedWrites: true } : {}),
    dataFiles: extents.filter(({ type, filename }) => type !== '' && filename !== '').map(({ filename }) => filename),
    specific: { type: 'vmdk', data },
  };
}

export function isVmdkHead(head: Uint8Array): boolean {
  return head.length >= headerLayout.size && isSparse(head);
}
