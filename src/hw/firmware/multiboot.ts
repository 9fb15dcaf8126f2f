/** Multiboot 1 kernels. Spec: Multiboot Specification 0.6.96, chapter 3. */
import { UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { ascii, u32, u64, viewOf } from './bytes.ts';
import { e820Map } from './e820.ts';
import { isElf, loadSegments, parseElf } from './elf.ts';
import { flatGdt, HIGH_MEMORY_BASE, KIB, LOW_MEMORY, SELECTORS } from './layout.ts';
import type { BootRequest, LoadedKernel } from './load.ts';
import { checkKernelFits, lowRamEnd, placeInitrd, putBytes, putCommandLine, putZeroes } from './load.ts';

const HEADER_MAGIC = 0x1bad_b002;
const LOADER_MAGIC = 0x2bad_b002;
/** The header lies wholly within this many bytes from the start of the file (3.1). */
const SEARCH_LIMIT = 8192;
const COMMAND_LINE_MAX = 4095;

/** Header flags (3.1.2): bits 0 to 15 are requirements; unknown ones must be refused. */
const HEADER_FLAG = {
  pageAlignModules: 1 << 0,
  memoryInfo: 1 << 1,
  videoMode: 1 << 2,
  addressFields: 1 << 16,
} as const;
/** Which fields of the information are valid (3.3). */
const INFO_FLAG = {
  memory: 1 << 0,
  commandLine: 1 << 2,
  modules: 1 << 3,
  memoryMap: 1 << 6,
  loaderName: 1 << 9,
} as const;
const INFO_SIZE = 120;

export interface MultibootHeader {
  /** Where in the file the header lies. */
  readonly offset: number;
  readonly flags: number;
}

/** Looks for a multiboot header: magic, flags and a checksum that makes their sum 0, aligned to 4 bytes. */
export function findMultibootHeader(file: Uint8Array): MultibootHeader | undefined {
  const view = viewOf(file);
  const end = Math.min(file.length, SEARCH_LIMIT) - 12;
  for (let offset = 0; offset <= end; offset += 4) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(offset + 4, true);
    if ((HEADER_MAGIC + flags + view.getUint32(offset + 8, true)) % 2 ** 32 === 0) return { offset, flags };
  }
  return undefined;
}

/** Puts a multiboot kernel, its module (the initrd) and the boot information into RAM. Throws UserError. */
export function loadMultiboot(header: MultibootHeader, request: BootRequest, memory: GuestMemory): LoadedKernel {
  const known = HEADER_FLAG.pageAlignModules | HEADER_FLAG.memoryInfo | HEADER_FLAG.videoMode;
  const unknown = header.flags & 0xffff & ~known;
  if (unknown !== 0) {
    throw new UserError(
      `the multiboot kernel requires features 0x${unknown.toString(16)}, which this loader does not know`,
    );
  }
  const byAddress = (header.flags & HEADER_FLAG.addressFields) !== 0;
  const { entry, end } = byAddress
    ? loadByAddresses(header, request.kernel, memory)
    : loadByElf(request.kernel, memory);
  putInformation(end, request, memory);
  const gdt = flatGdt('code32');
  putBytes(memory, LOW_MEMORY.gdt, gdt);
  return {
    protocol: 'multiboot',
    entry: {
      mode: 'protected32',
      rip: entry,
      registers: { rax: LOADER_MAGIC, rbx: LOW_MEMORY.startInfo.base },
      gdt: { base: LOW_MEMORY.gdt, limit: gdt.length - 1 },
      selectors: SELECTORS,
    },
  };
}

/** First address above the kernel, and where it starts. */
interface Placed {
  readonly entry: number;
  readonly end: number;
}

function loadByElf(file: Uint8Array, memory: GuestMemory): Placed {
  if (!isElf(file)) {
    throw new UserError('the multiboot kernel is neither an ELF file nor gives its load addresses in its header');
  }
  const elf = parseElf(file);
  if (elf.bits === 64) {
    throw new UserError(
      'the multiboot kernel is a 64-bit ELF file; multiboot takes a 32-bit one (objcopy -O elf32-i386)',
    );
  }
  return { entry: elf.entry, end: loadSegments(elf, memory) };
}

/** The address fields of the header (3.1.3), for files of any format. */
function loadByAddresses(header: MultibootHeader, file: Uint8Array, memory: GuestMemory): Placed {
  if (file.length < header.offset + 32) throw new UserError('the multiboot kernel is truncated inside its header');
  const view = viewOf(file);
  const [headerAddress, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((at) =>
    view.getUint32(header.offset + at, true),
  );
  const start = header.offset - (headerAddress - load);
  const size = loadEnd === 0 ? file.length - start : loadEnd - load;
  if (load > headerAddress || start < 0 || size <= 0 || (bssEnd !== 0 && bssEnd < load + size)) {
    throw new UserError('the multiboot kernel is damaged: the load addresses in its header contradict each other');
  }
  if (start + size > file.length) {
    throw new UserError(
      `the multiboot kernel is truncated: its header promises ${start + size} bytes, the file has ${file.length}`,
    );
  }
  if (load < HIGH_MEMORY_BASE) {
    throw new UserError(
      `the multiboot kernel asks to be loaded at 0x${load.toString(16)}; it must lie at 1 MiB or above`,
    );
  }
  const end = Math.max(load + size, bssEnd);
  checkKernelFits(end, memory);
  putBytes(memory, load, file.subarray(start, start + size));
  putZeroes(memory, load + size, end - load - size);
  return { entry, end };
}

/** The boot information (3.3), then its memory map, module list and strings. */
function putInformation(kernelEnd: number, request: BootRequest, memory: GuestMemory): void {
  const infoAt = LOW_MEMORY.startInfo.base;
  const map = e820Map(memory).flatMap(({ base, size, type }) => [...u32(20), ...u64(base), ...u64(size), ...u32(type)]);
  const mapAt = infoAt + INFO_SIZE;
  const moduleAt = mapAt + map.length;
  const module = putModule(kernelEnd, request, memory);
  const loaderName = [...ascii('vireo'), 0];
  const moduleName = [...ascii('initrd'), 0];
  const loaderNameAt = moduleAt + 16;
  const moduleNameAt = loaderNameAt + loaderName.length;

  const info = new DataView(new ArrayBuffer(INFO_SIZE));
  const set = (at: number, value: number) => info.setUint32(at, value, true);
  const { memory: memoryFlag, commandLine, modules, memoryMap, loaderName: nameFlag } = INFO_FLAG;
  set(0, memoryFlag | commandLine | modules | memoryMap | nameFlag);
  set(4, LOW_MEMORY.extendedBiosData.base / KIB);
  set(8, Math.floor((lowRamEnd(memory) - HIGH_MEMORY_BASE) / KIB));
  set(16, putCommandLine(memory, request.commandLine ?? '', COMMAND_LINE_MAX));
  set(20, module === undefined ? 0 : 1);
  set(24, moduleAt);
  set(44, map.length);
  set(48, mapAt);
  set(64, loaderNameAt);
  const list =
    module === undefined ? zeroModule : [...u32(module.start), ...u32(module.end), ...u32(moduleNameAt), ...u32(0)];
  const bytes = [...new Uint8Array(info.buffer), ...map, ...list, ...loaderName, ...moduleName];
  putBytes(memory, infoAt, Uint8Array.from(bytes));
}

const zeroModule: readonly number[] = new Array<number>(16).fill(0);

/** Puts the initrd right above the kernel, where kernels that map little memory reach it. */
function putModule(kernelEnd: number, request: BootRequest, memory: GuestMemory) {
  if (request.initrd === undefined || request.initrd.length === 0) return undefined;
  const start = Math.ceil(kernelEnd / 4096) * 4096;
  placeInitrd(request.initrd, start, lowRamEnd(memory), memory); // refuses one that does not fit
  putBytes(memory, start, request.initrd);
  return { start, end: start + request.initrd.length };
}
