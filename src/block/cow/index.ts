/**
 * QEMU's oldest format with a backing file: a bit for each sector, and the disk as
 * it is (QEMU up to 2.1, block/cow.c), big-endian. QEMU itself has dropped it.
 */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Format, ImageNode, OpenOptions } from '../format.ts';
import { bytesOf, layout, u32be, u64be } from '../layout.ts';
import { growFile, mappedNode, type Run } from '../mapped.ts';
import { metadataCache } from '../qcow2/metadata-cache.ts';
import { alignDown, alignUp, readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';

const headerLayout = layout({
  magic: u32be,
  version: u32be,
  backing: bytesOf(1024),
  modified: u32be,
  padding: u32be,
  diskBytes: u64be,
  sectorBytes: u32be,
  rest: u32be,
});

/** "OOOM", as user-mode Linux wrote it. */
const MAGIC = 0x4f4f4f4d;
const VERSION = 2;
const SECTOR_BYTES = 512;
const DISK_MAX_BYTES = 2 ** 50;
/** Bits are read and written by sectors of the file: the disk begins at the next one. */
const PAGES_MAX = 8192;

export const cow: Format = {
  name: 'cow',
  createOptions: [
    { name: 'backing_file', help: 'File name of a base image' },
    { name: 'backing_fmt', help: 'Format of the backing image (it is not stored)' },
    { name: 'size', help: 'Virtual disk size' },
  ],
  probe(head) {
    if (head.length < 8) return 0;
    const { magic, version } = layout({ magic: u32be, version: u32be }).read(head);
    return magic === MAGIC && version === VERSION ? 100 : 0;
  },
  open: openCow,
};

export interface CowCreateOptions {
  readonly sizeBytes: number;
  readonly backingFile?: string;
}

function dataOffsetOf(diskBytes: number): number {
  return alignUp(headerLayout.size + Math.ceil(diskBytes / SECTOR_BYTES / 8), SECTOR_BYTES);
}

/** Writes an empty image to `file`, which must be empty. @throws UserError that names the option */
export async function createCow(file: BlockNode, { sizeBytes, backingFile = '' }: CowCreateOptions): Promise<void> {
  const name = encodeUtf8(backingFile);
  if (name.length > 1023) throw new UserError(`the name of a backing file has at most 1023 bytes, not ${name.length}`);
  if (sizeBytes > DISK_MAX_BYTES)
    throw new UserError(`a cow disk has at most ${DISK_MAX_BYTES} bytes, not ${sizeBytes}`);
  const backing = new Uint8Array(1024);
  backing.set(name);
  const fixed = { magic: MAGIC, version: VERSION, modified: 0, padding: 0, sectorBytes: SECTOR_BYTES, rest: 0 };
  await growFile(file, dataOffsetOf(sizeBytes));
  await file.write(0, headerLayout.write({ ...fixed, backing, diskBytes: sizeBytes }));
  await file.flush();
}

async function openCow(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name } = options;
  const bytes = new Uint8Array(headerLayout.size);
  await readPadded(file, 0, bytes);
  const { magic, version, backing, diskBytes, sectorBytes } = headerLayout.read(bytes);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable cow image: ${what}`);
  };
  require(magic === MAGIC, 'its magic number is wrong');
  require(version === VERSION, `its version is ${version}; 2 is known`);
  require(sectorBytes === SECTOR_BYTES, `its sectors have ${sectorBytes} bytes; 512 is known`);
  require(diskBytes <= DISK_MAX_BYTES &&
    diskBytes % SECTOR_BYTES ===
      0, `its disk has ${diskBytes} bytes; whole sectors, at most ${DISK_MAX_BYTES} bytes, are allowed`);
  const dataOffset = dataOffsetOf(diskBytes);
  const end = backing.indexOf(0);
  const filename = decodeUtf8(backing.subarray(0, end < 0 ? backing.length : end));
  return mappedNode({
    format: 'cow',
    name,
    sizeBytes: diskBytes,
    readOnly: options.readOnly ?? file.readOnly,
    preferredBytes: 4096,
    info: () => (filename === '' ? {} : { backing: { filename } }),
    map: mapOf(file, dataOffset),
    backing: filename === '' ? undefined : await openBacking(filename, options),
    files: [file],
  });
}

async function openBacking(filename: string, { name, resolveBacking, withoutBacking }: OpenOptions) {
  if (withoutBacking === true) return undefined;
  if (resolveBacking === undefined)
    throw new UserError(`${name}: it has the backing file ${filename}, and none may be opened`);
  return resolveBacking({ filename });
}

function mapOf(file: BlockNode, dataOffset: number) {
  const pages = metadataCache(file, SECTOR_BYTES, PAGES_MAX);
  /** The page with a sector's bit, where in it the byte is, and the bit; the first sector has the lowest. */
  const bitOf = async (sector: number) => {
    const at = headerLayout.size + Math.floor(sector / 8);
    const start = alignDown(at, SECTOR_BYTES);
    return { page: await pages.get(start), at: at - start, bit: 1 << (sector % 8) };
  };
  const isOwn = async (sector: number) => {
    const { page, at, bit } = await bitOf(sector);
    return (page.bytes[at] & bit) !== 0;
  };
  return {
    unitBytes: SECTOR_BYTES,
    async lookup(offset: number, length: number): Promise<Run> {
      const first = Math.floor(offset / SECTOR_BYTES);
      const own = await isOwn(first);
      let last = first + 1;
      // As far as one page of bits tells.
      const stop = Math.min(Math.ceil((offset + length) / SECTOR_BYTES), first + SECTOR_BYTES * 8);
      while (last < stop && (await isOwn(last)) === own) last += 1;
      const n = Math.min(length, last * SECTOR_BYTES - offset);
      return own ? { kind: 'data', length: n, file, at: dataOffset + offset } : { kind: 'hole', length: n };
    },
    async allocate(offset: number, bytes: Uint8Array): Promise<void> {
      await file.write(dataOffset + offset, bytes);
      for (let done = 0; done < bytes.length; done += SECTOR_BYTES) {
        const { page, at, bit } = await bitOf((offset + done) / SECTOR_BYTES);
        page.bytes[at] |= bit;
        pages.markDirty(page);
      }
    },
    pendingBytes: () => pages.dirtyCount * SECTOR_BYTES,
    async commit(): Promise<void> {
      await file.flush();
      if (pages.dirtyCount === 0) return;
      await pages.writeDirty();
      await file.flush();
    },
  };
}
