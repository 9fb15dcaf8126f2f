/**
 * Kernels with a PVH entry point: an ELF file whose Xen note PHYS32_ENTRY names it.
 * Spec: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h.
 */
import { UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { u32, u64, viewOf } from './bytes.ts';
import { e820Map } from './e820.ts';
import type { ElfFile } from './elf.ts';
import { loadSegments } from './elf.ts';
import { flatGdt, LOW_MEMORY, SELECTORS } from './layout.ts';
import type { BootRequest, LoadedKernel } from './load.ts';
import { lowRamEnd, placeInitrd, putBytes, putCommandLine } from './load.ts';

const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const START_INFO_MAGIC = 0x336e_c578;
const START_INFO_SIZE = 56;
const MODULE_SIZE = 32;
/** PVH states no limit; this is the largest that a kernel in use takes. */
const COMMAND_LINE_MAX = 4095;

/** The PVH entry point's physical address, or undefined when the file has none. */
export function pvhEntry(elf: ElfFile): number | undefined {
  const note = elf.notes.find(({ owner, type }) => owner === 'Xen' && type === XEN_ELFNOTE_PHYS32_ENTRY);
  if (note === undefined || note.content.length < 4) return undefined;
  return viewOf(note.content).getUint32(0, true);
}

/** Puts a PVH kernel and its hvm_start_info, version 1, into RAM. Throws UserError. */
export function loadPvh(elf: ElfFile, entry: number, request: BootRequest, memory: GuestMemory): LoadedKernel {
  const inside = elf.segments.some(({ physical, memorySize }) => entry >= physical && entry < physical + memorySize);
  if (!inside)
    throw new UserError(`the kernel is damaged: its PVH entry point 0x${entry.toString(16)} is in no segment`);
  const kernelEnd = loadSegments(elf, memory);
  const commandLine = putCommandLine(memory, request.commandLine ?? '', COMMAND_LINE_MAX);

  const infoAt = LOW_MEMORY.startInfo.base;
  const modulesAt = infoAt + START_INFO_SIZE;
  const mapAt = modulesAt + MODULE_SIZE;
  let modules: number[] = [];
  if (request.initrd !== undefined && request.initrd.length > 0) {
    const base = placeInitrd(request.initrd, kernelEnd, lowRamEnd(memory), memory);
    putBytes(memory, base, request.initrd);
    modules = [...u64(base), ...u64(request.initrd.length), ...u64(0), ...u64(0)];
  }
  const map = e820Map(memory);
  const info = [
    ...u32(START_INFO_MAGIC),
    ...u32(1), // version
    ...u32(0), // flags
    ...u32(modules.length / MODULE_SIZE),
    ...u64(modulesAt),
    ...u64(commandLine),
    ...u64(request.rsdp ?? 0),
    ...u64(mapAt),
    ...u32(map.length),
    ...u32(0),
  ];
  putBytes(memory, infoAt, Uint8Array.from(info));
  putBytes(memory, modulesAt, Uint8Array.from(modules));
  const entries = map.flatMap(({ base, size, type }) => [...u64(base), ...u64(size), ...u32(type), ...u32(0)]);
  putBytes(memory, mapAt, Uint8Array.from(entries));

  const gdt = flatGdt('code32');
  putBytes(memory, LOW_MEMORY.gdt, gdt);
  return {
    protocol: 'pvh',
    entry: {
      mode: 'protected32',
      rip: entry,
      registers: { rbx: infoAt },
      gdt: { base: LOW_MEMORY.gdt, limit: gdt.length - 1 },
      selectors: SELECTORS,
    },
  };
}
