/** Which kind of kernel a file is, and what it is when it is none. */
import { UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { putBiosData } from './bios-data.ts';
import { isElf, parseElf } from './elf.ts';
import { isBzImage, loadLinux } from './linux.ts';
import type { BootRequest, LoadedKernel } from './load.ts';
import { findMultibootHeader, loadMultiboot } from './multiboot.ts';
import { loadPvh, pvhEntry } from './pvh.ts';

/**
 * Puts a kernel of any known protocol, with its initrd and command line, into
 * RAM: Linux bzImage, PVH ELF, multiboot 1. Throws UserError that says what is
 * wrong with the file or does not fit.
 */
export function loadKernel(request: BootRequest, memory: GuestMemory): LoadedKernel {
  putBiosData(memory);
  const file = request.kernel;
  if (isBzImage(file)) return loadLinux(request, memory);
  const multiboot = findMultibootHeader(file);
  if (isElf(file)) {
    const elf = parseElf(file);
    const entry = pvhEntry(elf);
    if (entry !== undefined && (multiboot === undefined || elf.bits === 64)) {
      return loadPvh(elf, entry, request, memory);
    }
    if (multiboot === undefined) {
      throw new UserError(
        `the kernel is a ${elf.bits}-bit ELF file, but neither PVH (no Xen PHYS32_ENTRY note) nor multiboot: ` +
          'not a kernel that can be booted directly',
      );
    }
  }
  if (multiboot !== undefined) return loadMultiboot(multiboot, request, memory);
  throw new UserError(`the kernel is ${looksLike(file)}; it must be a bzImage, a PVH ELF or a multiboot kernel`);
}

/** Files that people mistake for kernels: bytes at an offset, and what to call them. */
const KNOWN_FILES: readonly { readonly at: number; readonly magic: readonly number[]; readonly what: string }[] = [
  { at: 0, magic: [0x1f, 0x8b], what: 'a gzip file (decompress it first)' },
  { at: 0, magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], what: 'an xz file (decompress it first)' },
  { at: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], what: 'a zstd file (decompress it first)' },
  { at: 0, magic: [0x42, 0x5a, 0x68], what: 'a bzip2 file (decompress it first)' },
  { at: 0, magic: [0x04, 0x22, 0x4d, 0x18], what: 'an lz4 file (decompress it first)' },
  { at: 0, magic: [0x30, 0x37, 0x30, 0x37, 0x30], what: 'a cpio archive (an initrd?)' },
  { at: 0, magic: [0x51, 0x46, 0x49, 0xfb], what: 'a qcow2 disk image' },
  { at: 0, magic: [0x4b, 0x44, 0x4d], what: 'a VMDK disk image' },
  { at: 0, magic: [0x21, 0x3c, 0x61, 0x72, 0x63, 0x68, 0x3e], what: 'an ar archive (a Debian package?)' },
  { at: 0, magic: [0xed, 0xab, 0xee, 0xdb], what: 'an RPM package' },
  { at: 0, magic: [0x50, 0x4b, 0x03, 0x04], what: 'a zip file' },
  { at: 0, magic: [0x23, 0x21], what: 'a script' },
  { at: 0x38, magic: [0x41, 0x52, 0x4d, 0x64], what: 'an arm64 kernel' },
  { at: 0x38, magic: [0x52, 0x53, 0x43, 0x05], what: 'a RISC-V kernel' },
  { at: 0, magic: [0x4d, 0x5a], what: 'an EFI or Windows program' },
  { at: 0x8001, magic: [0x43, 0x44, 0x30, 0x30, 0x31], what: 'a CD image' },
  { at: 0x101, magic: [0x75, 0x73, 0x74, 0x61, 0x72], what: 'a tar archive' },
  { at: 0x1fe, magic: [0x55, 0xaa], what: 'a boot sector or disk image' },
];

function looksLike(file: Uint8Array): string {
  if (file.length === 0) return 'an empty file';
  const known = KNOWN_FILES.find(({ at, magic }) => magic.every((byte, index) => file[at + index] === byte));
  if (known !== undefined) return known.what;
  const start = file.subarray(0, 512);
  if (start.every((byte) => byte === 0)) return 'a file of zeroes';
  if (start.every((byte) => byte === 9 || byte === 10 || byte === 13 || (byte >= 32 && byte !== 127))) {
    return 'a text file';
  }
  return 'a file of unknown kind (or cut off before its header)';
}
