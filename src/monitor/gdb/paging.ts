/** From linear to guest physical addresses as the CPU's page tables have it (SDM vol. 3, 4.2 to 4.5), rights left aside. */
import type { X86CpuRecord } from '../../target/index.ts';

const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const CR4_LA57 = 1n << 12n;
const EFER_LMA = 1n << 10n;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** Reads an entry of `bytes` bytes at a physical address; undefined where there is no memory. */
export type ReadEntry = (address: number, bytes: 4 | 8) => Promise<bigint | undefined>;

/** The physical address, or undefined where nothing is mapped. */
export async function translate(cpu: X86CpuRecord, linear: bigint, read: ReadEntry): Promise<number | undefined> {
  if ((cpu.cr0 & CR0_PG) === 0n) return Number(linear & 0xffff_ffffn);
  if ((cpu.cr4 & CR4_PAE) === 0n) return translate32(cpu, linear & 0xffff_ffffn, read);
  const isLong = (cpu.efer & EFER_LMA) !== 0n;
  const levels = isLong ? ((cpu.cr4 & CR4_LA57) === 0n ? 4 : 5) : 3;
  let table = isLong ? cpu.cr3 & ADDRESS : cpu.cr3 & 0xffff_ffe0n;
  for (let level = levels; level >= 1; level -= 1) {
    const shift = BigInt(12 + 9 * (level - 1));
    const index = (linear >> shift) & (level === 3 && !isLong ? 3n : 511n);
    const entry = await read(Number(table + index * 8n), 8);
    if (entry === undefined || (entry & PRESENT) === 0n) return undefined;
    if (level === 1 || ((entry & LARGE) !== 0n && level <= 3)) {
      const offset = (1n << shift) - 1n;
      return Number((entry & ADDRESS & ~offset) | (linear & offset));
    }
    table = entry & ADDRESS;
  }
  return undefined;
}

async function translate32(cpu: X86CpuRecord, linear: bigint, read: ReadEntry): Promise<number | undefined> {
  const directory = await read(Number((cpu.cr3 & 0xffff_f000n) + (linear >> 22n) * 4n), 4);
  if (directory === undefined || (directory & PRESENT) === 0n) return undefined;
  if ((directory & LARGE) !== 0n && (cpu.cr4 & CR4_PSE) !== 0n) {
    return Number((directory & 0xffc0_0000n) | (linear & 0x3f_ffffn));
  }
  const entry = await read(Number((directory & 0xffff_f000n) + ((linear >> 12n) & 1023n) * 4n), 4);
  if (entry === undefined || (entry & PRESENT) === 0n) return undefined;
  return Number((entry & 0xffff_f000n) | (linear & 0xfffn));
}
