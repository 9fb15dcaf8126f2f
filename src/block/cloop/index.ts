/** Compressed loop images (cloop 2.0), for reading: blocks of zlib streams, big-endian. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Format, ImageNode, OpenOptions } from '../format.ts';
import { layout, u32be, u64be, viewOf } from '../layout.ts';
import { mappedNode } from '../mapped.ts';
import { readPadded } from '../request.ts';
import { decodeUtf8 } from '../text.ts';
import { unpackZlib } from '../zlib.ts';

/** The beginning of the script that such an image is, too. */
const MAGIC = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n';
const HEADER_OFFSET = 128;
const headerLayout = layout({ blockBytes: u32be, blocks: u32be });
const LIMITS = { blockBytes: 2 ** 26, blocks: 2 ** 24 } as const;

export const cloop: Format = {
  name: 'cloop',
  createOptions: [],
  probe: (head) => (decodeUtf8(head.subarray(0, MAGIC.length)) === MAGIC ? 2 : 0),
  open: openCloop,
};

async function openCloop(file: BlockNode, { name, compression }: OpenOptions): Promise<ImageNode> {
  const head = new Uint8Array(HEADER_OFFSET + headerLayout.size);
  await readPadded(file, 0, head);
  const { blockBytes, blocks } = headerLayout.read(head, HEADER_OFFSET);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable cloop image: ${what}`);
  };
  require(blockBytes >= 512 &&
    blockBytes % 512 === 0 &&
    blockBytes <= LIMITS.blockBytes, `its blocks have ${blockBytes} bytes; whole sectors up to 64 MiB are allowed`);
  require(blocks <= LIMITS.blocks, `it has ${blocks} blocks; at most ${LIMITS.blocks} are supported`);
  const offsets = new Uint8Array((blocks + 1) * 8);
  require(head.length + offsets.length <= file.sizeBytes, 'its table of blocks is not inside the file');
  await file.read(head.length, offsets);
  const placeOf = (block: number) => u64be.get(viewOf(offsets), block * 8);

  const unpack = async (block: number): Promise<Uint8Array> => {
    const [at, end] = [placeOf(block), placeOf(block + 1)];
    const bad = (what: string): never => {
      throw new IoError('io', `${name}: block ${block} at ${at} cannot be unpacked: ${what}`);
    };
    if (end <= at || end > file.sizeBytes || end - at > blockBytes * 2) bad(`it has ${end - at} bytes`);
    if (compression === undefined) return bad('no decompressor was given');
    const packed = new Uint8Array(end - at);
    await file.read(at, packed);
    const target = new Uint8Array(blockBytes);
    try {
      await unpackZlib(compression, packed, target);
    } catch (error) {
      bad(error instanceof Error ? error.message : String(error));
    }
    return target;
  };
  return mappedNode({
    format: 'cloop',
    name,
    sizeBytes: blocks * blockBytes,
    readOnly: true,
    preferredBytes: blockBytes,
    info: () => ({}),
    map: {
      unitBytes: 512,
      lookup(offset, length) {
        const block = Math.floor(offset / blockBytes);
        const start = block * blockBytes;
        const n = Math.min(length, start + blockBytes - offset);
        return { kind: 'packed', length: n, start, unpack: () => unpack(block) };
      },
    },
    files: [file],
  });
}
