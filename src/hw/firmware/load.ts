/** What all kernel loaders share: the request, sizes in words, and putting bytes into guest RAM. */
import { sizeText, UserError } from '../../base/index.ts';
import type { BootEntry, GuestMemory } from '../../contract/index.ts';
import { utf8 } from './bytes.ts';
import { LOW_MEMORY, MIB } from './layout.ts';

/** What a person asked to boot. */
export interface BootRequest {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine?: string;
  /** Guest physical address of the RSDP, or undefined when there are no ACPI tables. */
  readonly rsdp?: number;
}

/** A kernel that lies in guest RAM, ready to run. */
export interface LoadedKernel {
  readonly protocol: 'linux64' | 'pvh' | 'multiboot';
  readonly entry: BootEntry;
}

/** First address above the RAM that starts at guest physical 0. */
export function lowRamEnd(memory: GuestMemory): number {
  return memory.ranges.find((range) => range.base === 0)?.size ?? 0;
}

/** Copies `bytes` to guest physical `base`. The caller has checked that it is RAM. */
export function putBytes(memory: GuestMemory, base: number, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  const target = memory.view(base, bytes.length);
  if (target === undefined) throw new RangeError(`no guest RAM at 0x${base.toString(16)}, ${bytes.length} bytes`);
  target.set(bytes);
  memory.written(base, bytes.length);
}

/** Fills guest physical [base, base + length) with zero. */
export function putZeroes(memory: GuestMemory, base: number, length: number): void {
  if (length === 0) return;
  const target = memory.view(base, length);
  if (target === undefined) throw new RangeError(`no guest RAM at 0x${base.toString(16)}, ${length} bytes`);
  target.fill(0);
  memory.written(base, length);
}

/**
 * Finds the highest 4 KiB-aligned place for the initrd.
 * @param floor first address that the kernel leaves free
 * @param ceiling first address that the initrd must not reach
 */
export function placeInitrd(initrd: Uint8Array, floor: number, ceiling: number, memory: GuestMemory): number {
  const base = Math.floor((ceiling - initrd.length) / 4096) * 4096;
  if (base >= floor) return base;
  const have = sizeText(memory.size);
  if (initrd.length > memory.size) {
    throw new UserError(`the initrd (${sizeText(initrd.length)}) is larger than the guest's memory (${have})`);
  }
  const need = Math.ceil((floor + initrd.length) / MIB) + 1;
  throw new UserError(
    `the initrd (${sizeText(initrd.length)}) does not fit beside the kernel in the guest's memory (${have}): ` +
      `it takes at least ${need} MiB`,
  );
}

/** Refuses a kernel whose [base, end) is not in low RAM. */
export function checkKernelFits(end: number, memory: GuestMemory): void {
  if (end <= lowRamEnd(memory)) return;
  throw new UserError(
    `the kernel does not fit in the guest's memory (${sizeText(memory.size)}): it takes at least ${Math.ceil(end / MIB)} MiB`,
  );
}

/**
 * Puts the command line, NUL-terminated, at its place in low RAM.
 * @param limit most bytes that the kernel takes, the NUL not counted
 * @returns its guest physical address
 */
export function putCommandLine(memory: GuestMemory, commandLine: string, limit: number): number {
  if (/[\0\r\n]/.test(commandLine)) throw new UserError('the kernel command line must be one line of text');
  const text = utf8(commandLine);
  const most = Math.min(limit, LOW_MEMORY.commandLine.size - 1);
  if (text.length > most) {
    throw new UserError(`the kernel command line is ${text.length} bytes long; this kernel takes at most ${most}`);
  }
  putBytes(memory, LOW_MEMORY.commandLine.base, Uint8Array.of(...text, 0));
  return LOW_MEMORY.commandLine.base;
}
