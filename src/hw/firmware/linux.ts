/**
 * Linux on x86: a bzImage entered at its 64-bit entry point.
 * Spec: the kernel's Documentation/arch/x86/boot.rst ("The Linux/x86 Boot
 * Protocol", 2.12 and later, "64-bit Boot Protocol") and zero-page.rst.
 */
import { sizeText, UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { viewOf } from './bytes.ts';
import { e820Map } from './e820.ts';
import { flatGdt, LOW_MEMORY, SELECTORS } from './layout.ts';
import type { BootRequest, LoadedKernel } from './load.ts';
import { checkKernelFits, lowRamEnd, placeInitrd, putBytes, putCommandLine } from './load.ts';

/** Offsets in the setup header and in the zero page: they are the same (boot.rst, "Details of header fields"). */
const FIELD = {
  acpiRsdp: 0x070,
  e820Entries: 0x1e8,
  setupSectors: 0x1f1,
  systemSize: 0x1f4,
  bootFlag: 0x1fe,
  jumpOffset: 0x201,
  magic: 0x202,
  version: 0x206,
  loaderType: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  commandLine: 0x228,
  initrdAddressMax: 0x22c,
  kernelAlignment: 0x230,
  extendedLoadFlags: 0x236,
  commandLineSize: 0x238,
  setupData: 0x250,
  preferredAddress: 0x258,
  initSize: 0x260,
  e820Table: 0x2d0,
} as const;

const HEADER_END_MIN = 0x264;
const MAGIC_HDRS = 0x5372_6448; // 'HdrS'
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const ENTRY_64_OFFSET = 0x200;
const LOADER_UNDEFINED = 0xff;
const SECTOR = 512;

/** What the setup header says, checked. Sizes in bytes. */
interface BzImage {
  readonly header: Uint8Array;
  readonly code: Uint8Array;
  readonly loadAddress: number;
  readonly initSize: number;
  readonly initrdAddressMax: number;
  readonly commandLineSize: number;
}

/** True when the file carries the setup header's magic number. */
export function isBzImage(file: Uint8Array): boolean {
  return file.length >= FIELD.magic + 4 && viewOf(file).getUint32(FIELD.magic, true) === MAGIC_HDRS;
}

/** Puts a bzImage, its initrd, command line, zero page and page tables into RAM. Throws UserError. */
export function loadLinux(request: BootRequest, memory: GuestMemory): LoadedKernel {
  const image = parseBzImage(request.kernel);
  const kernelEnd = image.loadAddress + Math.max(image.initSize, image.code.length);
  checkKernelFits(kernelEnd, memory);

  const zeroPage = new Uint8Array(LOW_MEMORY.zeroPage.size);
  zeroPage.set(image.header, FIELD.setupSectors);
  const page = viewOf(zeroPage);
  page.setUint8(FIELD.loaderType, LOADER_UNDEFINED);
  page.setUint32(FIELD.commandLine, putCommandLine(memory, request.commandLine ?? '', image.commandLineSize), true);
  page.setBigUint64(FIELD.setupData, 0n, true);
  page.setBigUint64(FIELD.acpiRsdp, BigInt(request.rsdp ?? 0), true);
  page.setUint32(FIELD.ramdiskImage, 0, true);
  page.setUint32(FIELD.ramdiskSize, 0, true);
  if (request.initrd !== undefined && request.initrd.length > 0) {
    const ceiling = Math.min(image.initrdAddressMax + 1, lowRamEnd(memory));
    const base = placeInitrd(request.initrd, kernelEnd, ceiling, memory);
    putBytes(memory, base, request.initrd);
    page.setUint32(FIELD.ramdiskImage, base, true);
    page.setUint32(FIELD.ramdiskSize, request.initrd.length, true);
  }
  writeE820(page, memory);

  putBytes(memory, image.loadAddress, image.code);
  putBytes(memory, LOW_MEMORY.zeroPage.base, zeroPage);
  putBytes(memory, LOW_MEMORY.pageTables.base, identityPageTables(LOW_MEMORY.pageTables.base));
  const gdt = flatGdt('code64');
  putBytes(memory, LOW_MEMORY.gdt, gdt);
  return {
    protocol: 'linux64',
    entry: {
      mode: 'long64',
      rip: image.loadAddress + ENTRY_64_OFFSET,
      registers: { rsi: LOW_MEMORY.zeroPage.base },
      cr3: LOW_MEMORY.pageTables.base,
      gdt: { base: LOW_MEMORY.gdt, limit: gdt.length - 1 },
      selectors: { code: SELECTORS.code, data: SELECTORS.data },
    },
  };
}

function parseBzImage(file: Uint8Array): BzImage {
  if (file.length < HEADER_END_MIN) {
    throw new UserError(`the kernel is a truncated bzImage: it ends inside its setup header, at ${file.length} bytes`);
  }
  const view = viewOf(file);
  if (view.getUint16(FIELD.bootFlag, true) !== 0xaa55) {
    throw new UserError('the kernel is a damaged bzImage: its boot flag at offset 0x1fe is not 0xaa55');
  }
  const version = view.getUint16(FIELD.version, true);
  if (version < 0x20c) {
    throw new UserError(
      `the kernel speaks Linux boot protocol ${version >> 8}.${version & 0xff}; this needs 2.12 or newer (Linux 3.8)`,
    );
  }
  if ((view.getUint16(FIELD.extendedLoadFlags, true) & XLF_KERNEL_64) === 0) {
    throw new UserError('the kernel is a 32-bit bzImage (no 64-bit entry point); give an x86-64 kernel');
  }
  const setupBytes = ((view.getUint8(FIELD.setupSectors) || 4) + 1) * SECTOR;
  const codeBytes = view.getUint32(FIELD.systemSize, true) * 16;
  // The size is in paragraphs: the last one may be short.
  if (file.length <= setupBytes || file.length < setupBytes + codeBytes - 15) {
    throw new UserError(
      `the kernel is a truncated bzImage: its header promises ${sizeText(setupBytes + codeBytes)}, ` +
        `the file has ${sizeText(file.length)}`,
    );
  }
  const initSize = view.getUint32(FIELD.initSize, true);
  const loadAddress = view.getBigUint64(FIELD.preferredAddress, true);
  const alignment = view.getUint32(FIELD.kernelAlignment, true);
  const code = file.subarray(setupBytes, setupBytes + codeBytes);
  const problem = headerProblem(view, code, loadAddress, initSize, alignment);
  if (problem !== undefined) throw new UserError(`the kernel is a damaged bzImage: ${problem}`);
  return {
    header: file.subarray(FIELD.setupSectors, Math.min(FIELD.magic + view.getUint8(FIELD.jumpOffset), FIELD.e820Table)),
    code,
    loadAddress: Number(loadAddress),
    initSize,
    initrdAddressMax: view.getUint32(FIELD.initrdAddressMax, true),
    commandLineSize: view.getUint32(FIELD.commandLineSize, true),
  };
}

function headerProblem(view: DataView, code: Uint8Array, load: bigint, initSize: number, alignment: number) {
  if ((view.getUint8(FIELD.loadFlags) & LOADED_HIGH) === 0) return 'it asks to be loaded below 1 MiB';
  if (code.length <= ENTRY_64_OFFSET) return 'it holds no code';
  if (initSize === 0) return 'its init_size is 0';
  if (load < 0x10_0000n || load >= 0x1_0000_0000n) return `its pref_address is 0x${load.toString(16)}`;
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0 || load % BigInt(alignment) !== 0n) {
    return `its pref_address 0x${load.toString(16)} does not fit its alignment 0x${alignment.toString(16)}`;
  }
  if (FIELD.magic + view.getUint8(FIELD.jumpOffset) < HEADER_END_MIN) return 'its setup header is too short';
  return undefined;
}

function writeE820(page: DataView, memory: GuestMemory): void {
  const entries = e820Map(memory);
  page.setUint8(FIELD.e820Entries, entries.length);
  entries.forEach(({ base, size, type }, index) => {
    const at = FIELD.e820Table + index * 20;
    page.setBigUint64(at, BigInt(base), true);
    page.setBigUint64(at + 8, BigInt(size), true);
    page.setUint32(at + 16, type, true);
  });
}

/** Maps the first 4 GiB to themselves with 2 MiB pages: PML4, PDPT, four page directories (SDM vol. 3, 4.5). */
function identityPageTables(base: number): Uint8Array {
  const PRESENT_WRITABLE = 0x3n;
  const LARGE_PAGE = 0x80n;
  const bytes = new Uint8Array(6 * 4096);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(base + 0x1000) | PRESENT_WRITABLE, true);
  for (let gib = 0; gib < 4; gib++) {
    view.setBigUint64(0x1000 + gib * 8, BigInt(base + 0x2000 + gib * 0x1000) | PRESENT_WRITABLE, true);
  }
  for (let page = 0; page < 4 * 512; page++) {
    view.setBigUint64(0x2000 + page * 8, (BigInt(page) << 21n) | LARGE_PAGE | PRESENT_WRITABLE, true);
  }
  return bytes;
}
