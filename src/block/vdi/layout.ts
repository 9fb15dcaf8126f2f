/** The VDI header (VirtualBox, src/VBox/Storage/VDICore.h: VDIPREHEADER, VDIHEADER1PLUS), little-endian. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { bytesOf, type LayoutOf, layout, u32le, u64le } from '../layout.ts';
import { readPadded } from '../request.ts';

export const headerLayout = layout({
  text: bytesOf(64),
  signature: u32le,
  version: u32le,
  headerBytes: u32le,
  imageType: u32le,
  flags: u32le,
  description: bytesOf(256),
  mapOffset: u32le,
  dataOffset: u32le,
  cylinders: u32le,
  heads: u32le,
  sectors: u32le,
  sectorBytes: u32le,
  unused: u32le,
  diskBytes: u64le,
  blockBytes: u32le,
  blockExtraBytes: u32le,
  blocks: u32le,
  blocksAllocated: u32le,
  imageUuid: bytesOf(16),
  snapshotUuid: bytesOf(16),
  linkUuid: bytesOf(16),
  parentUuid: bytesOf(16),
  rest: bytesOf(56),
});
export type VdiHeader = LayoutOf<typeof headerLayout>;

export const VDI_SIGNATURE = 0xbeda107f;
export const VDI_VERSION = 0x00010001;
export const IMAGE_TYPE = { dynamic: 1, static: 2 } as const;
/** Map entries for blocks that have no place: never written, and discarded. */
export const UNALLOCATED = 0xffffffff;
export const DISCARDED = 0xfffffffe;
/** The only block size that VirtualBox and QEMU write. */
export const BLOCK_BYTES = 2 ** 20;
/** Blocks of one image: 16 TiB, whose map takes 64 MiB of memory. */
export const BLOCKS_MAX = 2 ** 24;

export function isVdi(head: Uint8Array): boolean {
  return head.length >= headerLayout.size && headerLayout.read(head).signature === VDI_SIGNATURE;
}

/** Reads and checks the header. @throws UserError that names the field */
export async function readVdiHeader(file: BlockNode, name: string): Promise<VdiHeader> {
  const bytes = new Uint8Array(headerLayout.size);
  await readPadded(file, 0, bytes);
  const header = headerLayout.read(bytes);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable VDI image: ${what}`);
  };
  const { imageType, blocks, blocksAllocated, diskBytes } = header;
  require(header.signature === VDI_SIGNATURE, 'its signature is wrong');
  require(header.version === VDI_VERSION, `its version is 0x${header.version.toString(16)}; 0x10001 (1.1) is known`);
  require(imageType === IMAGE_TYPE.dynamic ||
    imageType === IMAGE_TYPE.static, `image type ${imageType}; 1 and 2 are known`);
  require(header.blockBytes === BLOCK_BYTES, `its blocks have ${header.blockBytes} bytes; 1048576 is supported`);
  require(header.blockExtraBytes === 0, 'it has extra bytes before its blocks, which are not supported');
  require(header.sectorBytes === 512, `its sectors have ${header.sectorBytes} bytes; 512 is supported`);
  require(header.mapOffset % 512 === 0 && header.dataOffset % 512 === 0, 'its map or data is not at a sector');
  require(blocks <= BLOCKS_MAX, `it has ${blocks} blocks; at most ${BLOCKS_MAX} are supported`);
  require(diskBytes <= blocks * BLOCK_BYTES, `its disk of ${diskBytes} bytes is larger than its ${blocks} blocks`);
  require(header.mapOffset >= headerLayout.size, 'its map overlaps the header');
  require(header.dataOffset >= header.mapOffset + blocks * 4, 'its data overlaps the map');
  require(blocksAllocated <= blocks, `${blocksAllocated} of its ${blocks} blocks are allocated`);
  const isPlain = [header.linkUuid, header.parentUuid].every((uuid) => uuid.every((byte) => byte === 0));
  require(isPlain, 'it is a differencing image, which is not supported');
  return header;
}
