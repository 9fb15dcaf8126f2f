/**
 * cpio archives in the `newc` format, which Linux unpacks as its initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel).
 * Archives may be joined end to end; later files replace earlier ones.
 */
import { UserError } from './errors.ts';

/** One file. Paths are relative, ASCII, without a leading slash; `permissions` are the low 12 mode bits. */
export type CpioEntry =
  | { readonly kind: 'file'; readonly path: string; readonly permissions: number; readonly data: Uint8Array }
  | { readonly kind: 'directory'; readonly path: string; readonly permissions: number }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | {
      readonly kind: 'character-device';
      readonly path: string;
      readonly permissions: number;
      readonly major: number;
      readonly minor: number;
    };

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const HEADER_SIZE = 110;
const ALIGNMENT = 4;
/** The size field has eight hexadecimal digits. */
const MAX_FILE_SIZE = 0xffff_ffff;
const MAX_PATH_LENGTH = 4095;

/** File type bits of the mode field (POSIX <sys/stat.h>). */
const TYPE_BITS = { file: 0o100000, directory: 0o040000, symlink: 0o120000, 'character-device': 0o020000 } as const;

/** Header fields after the magic, eight hexadecimal digits each. */
const FIELDS = [
  'inode',
  'mode',
  'uid',
  'gid',
  'links',
  'mtime',
  'fileSize',
  'deviceMajor',
  'deviceMinor',
  'specialMajor',
  'specialMinor',
  'nameSize',
  'checksum',
] as const;

/** Fields that are not given are 0. */
type Header = Partial<Record<(typeof FIELDS)[number], number>>;

/** An archive of `entries` in their order: a directory comes before what is in it. All files belong to root. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const parts = entries.map((entry, index) => encodeEntry(entry, index + 1));
  parts.push(encodeRecord({ links: 1 }, TRAILER, new Uint8Array(0)));
  const archive = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    archive.set(part, offset);
    offset += part.length;
  }
  return archive;
}

function encodeEntry(entry: CpioEntry, inode: number): Uint8Array {
  if (!/^[^/\0].*$/.test(entry.path) || entry.path.length > MAX_PATH_LENGTH) {
    throw new UserError(`cpio: a path must be relative and of 1 to ${MAX_PATH_LENGTH} characters, not "${entry.path}"`);
  }
  const permissions = entry.kind === 'symlink' ? 0o777 : entry.permissions;
  const special = entry.kind === 'character-device' ? { specialMajor: entry.major, specialMinor: entry.minor } : {};
  const links = entry.kind === 'directory' ? 2 : 1;
  const header = { inode, mode: TYPE_BITS[entry.kind] | permissions, links, ...special };
  return encodeRecord(header, entry.path, contentOf(entry));
}

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'symlink') return ascii(entry.target);
  return entry.kind === 'file' ? entry.data : new Uint8Array(0);
}

function encodeRecord(fields: Header, name: string, content: Uint8Array): Uint8Array {
  if (content.length > MAX_FILE_SIZE) throw new UserError(`cpio: ${name} is larger than 4 GiB`);
  const header: Header = { ...fields, nameSize: name.length + 1, fileSize: content.length };
  const digits = FIELDS.map((field) => (header[field] ?? 0).toString(16).padStart(8, '0'));
  const contentOffset = align(HEADER_SIZE + name.length + 1);
  const record = new Uint8Array(align(contentOffset + content.length));
  record.set(ascii(`${MAGIC}${digits.join('')}${name}`));
  record.set(content, contentOffset);
  return record;
}

function align(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    if (code > 0x7e || code < 0x20) throw new UserError(`cpio: "${text}" has characters outside printable ASCII`);
    return code;
  });
}
