/** Makes VHDX images. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { weakRandom } from '../format.ts';
import { joinBytes, u32le, u64le, viewOf } from '../layout.ts';
import { growFile } from '../mapped.ts';
import { alignUp } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import {
  BLOCK,
  batEntriesFor,
  chunkRatioOf,
  FILE_SIGNATURE,
  guidBytes,
  HEADER_OFFSETS,
  headerLayout,
  ITEM,
  KIB64,
  LIMITS,
  METADATA_FLAG,
  METADATA_SIGNATURE,
  MIB,
  metadataLayout,
  metadataTableLayout,
  PARAMETER,
  parametersLayout,
  REGION,
  REGION_OFFSETS,
  regionLayout,
  regionTableLayout,
  SIGNATURE,
  seal,
  ZERO_GUID,
} from './layout.ts';

export interface VhdxCreateOptions {
  readonly sizeBytes: number;
  readonly isFixed?: boolean;
  /** 0 or nothing: by the size of the disk. */
  readonly blockBytes?: number;
  readonly logBytes?: number;
  /** Blocks without a place are said to be zeros, not merely absent. */
  readonly zeroBlocks?: boolean;
  readonly random?: (length: number) => Uint8Array;
}

const SECTOR_BYTES = 512;
const GIB = 2 ** 30;
/** Block sizes for disks larger than each of these. */
const BLOCKS_BY_SIZE: readonly (readonly [above: number, blockBytes: number])[] = [
  [32 * 1024 * GIB, 64 * MIB],
  [100 * GIB, 32 * MIB],
  [GIB, 16 * MIB],
  [0, 8 * MIB],
];

/** Writes an empty image to `file`, which must be empty. @throws UserError that names the option */
export async function createVhdx(file: BlockNode, options: VhdxCreateOptions): Promise<void> {
  const { sizeBytes, isFixed = false, logBytes = MIB, zeroBlocks = true, random = weakRandom } = options;
  const auto = BLOCKS_BY_SIZE.find(([above]) => sizeBytes > above)?.[1] ?? 8 * MIB;
  const blockBytes = options.blockBytes || auto;
  if (sizeBytes > LIMITS.diskBytes) throw new UserError(`a VHDX disk has at most 64 TiB, not ${sizeBytes} bytes`);
  if (logBytes < MIB || logBytes % MIB !== 0 || logBytes > LIMITS.logMax)
    throw new UserError(`log_size must be whole MiB up to 1 GiB, not ${logBytes} bytes`);
  const isBlock = 2 ** Math.floor(Math.log2(blockBytes)) === blockBytes;
  if (!isBlock || blockBytes < LIMITS.blockMin || blockBytes > LIMITS.blockMax)
    throw new UserError(`block_size must be a power of two from 1 to 256 MiB, not ${blockBytes} bytes`);
  const logOffset = MIB;
  const metadata = { offset: logOffset + logBytes, length: MIB };
  const entries = batEntriesFor(sizeBytes, blockBytes, SECTOR_BYTES);
  const bat = { offset: metadata.offset + MIB, length: Math.max(MIB, alignUp(entries * 8, MIB)) };
  const dataOffset = bat.offset + bat.length;
  const blocks = Math.ceil(sizeBytes / blockBytes);

  await growFile(file, dataOffset + (isFixed ? blocks * blockBytes : 0));
  await writeBat(file, bat.offset, { blocks, blockBytes, dataOffset, isFixed, zeroBlocks });
  await file.write(metadata.offset, metadataTable({ sizeBytes, blockBytes, isFixed, diskId: random(16) }));
  const regions = regionTable([
    { guid: guidBytes(REGION.bat), ...bat, required: 1 },
    { guid: guidBytes(REGION.metadata), ...metadata, required: 1 },
  ]);
  for (const offset of REGION_OFFSETS) await file.write(offset, regions);
  const header = { fileWriteGuid: random(16), dataWriteGuid: random(16), logGuid: ZERO_GUID, logBytes, logOffset };
  for (const [sequence, offset] of HEADER_OFFSETS.entries()) {
    const rest = { signature: SIGNATURE.header, checksum: 0, logVersion: 0, version: 1, rest: new Uint8Array(4016) };
    await file.write(offset, seal(headerLayout.write({ ...header, ...rest, sequence })));
  }
  const creator = [...'Vireo'].flatMap((character) => [character.charCodeAt(0), 0]);
  await file.write(0, joinBytes([encodeUtf8(FILE_SIGNATURE), Uint8Array.from(creator)]));
  await file.flush();
}

interface BatOptions {
  readonly blocks: number;
  readonly blockBytes: number;
  readonly dataOffset: number;
  readonly isFixed: boolean;
  readonly zeroBlocks: boolean;
}

const BAT_PART_ENTRIES = 2 ** 17;

async function writeBat(file: BlockNode, offset: number, options: BatOptions): Promise<void> {
  const { blocks, blockBytes, dataOffset, isFixed, zeroBlocks } = options;
  if (!isFixed && !zeroBlocks) return;
  const ratio = chunkRatioOf(blockBytes, SECTOR_BYTES);
  const entries = blocks === 0 ? 0 : blocks + Math.floor((blocks - 1) / ratio);
  for (let first = 0; first < entries; first += BAT_PART_ENTRIES) {
    const part = new Uint8Array(Math.min(BAT_PART_ENTRIES, entries - first) * 8);
    for (let i = 0; i * 8 < part.length; i += 1) {
      const index = first + i;
      // Every `ratio` blocks there is a place for a bitmap, which disks without parent do not have.
      if ((index + 1) % (ratio + 1) === 0) continue;
      const place = dataOffset + (index - Math.floor(index / (ratio + 1))) * blockBytes;
      u64le.put(viewOf(part), i * 8, isFixed ? place + BLOCK.present : BLOCK.zero);
    }
    await file.write(offset + first * 8, part);
  }
}

function regionTable(regions: readonly Parameters<typeof regionLayout.write>[0][]): Uint8Array {
  const head = { signature: SIGNATURE.regions, checksum: 0, entries: regions.length, reserved: 0 };
  return seal(
    joinBytes([regionTableLayout.write(head), ...regions.map((region) => regionLayout.write(region))], KIB64),
  );
}

interface MetadataValues {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly isFixed: boolean;
  readonly diskId: Uint8Array;
}

function metadataTable({ sizeBytes, blockBytes, isFixed, diskId }: MetadataValues): Uint8Array {
  const number = (codec: typeof u32le, value: number) => {
    const bytes = new Uint8Array(codec.size);
    codec.put(viewOf(bytes), 0, value);
    return bytes;
  };
  const { required, virtualDisk } = METADATA_FLAG;
  const ofDisk = required | virtualDisk;
  const parameters = parametersLayout.write({ blockBytes, flags: isFixed ? PARAMETER.leaveAllocated : 0 });
  const items: readonly (readonly [guid: string, bytes: Uint8Array, flags: number])[] = [
    [ITEM.parameters, parameters, required],
    [ITEM.diskBytes, number(u64le, sizeBytes), ofDisk],
    [ITEM.diskId, diskId, ofDisk],
    [ITEM.logicalSector, number(u32le, SECTOR_BYTES), ofDisk],
    [ITEM.physicalSector, number(u32le, SECTOR_BYTES), ofDisk],
  ];
  let offset = KIB64;
  const entries = items.map(([guid, bytes, flags]) => {
    const entry = { guid: guidBytes(guid), offset, length: bytes.length, flags, reserved: 0 };
    offset += bytes.length;
    return metadataLayout.write(entry);
  });
  const signature = encodeUtf8(METADATA_SIGNATURE);
  const head = metadataTableLayout.write({ signature, reserved: 0, entries: items.length, rest: new Uint8Array(20) });
  const table = joinBytes([head, ...entries], KIB64);
  return joinBytes([table, ...items.map(([, bytes]) => bytes)]);
}
