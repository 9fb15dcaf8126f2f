/** The memory map that firmware reports: RAM and what to keep clear of (ACPI 6.4, 15.1; e820 types). */
import type { GuestMemory } from '../../contract/index.ts';
import { MMIO } from '../board/memory-map.ts';
import { LOW_MEMORY, MIB } from './layout.ts';

/** Address range types of INT 15h E820h. */
export const E820_TYPE = { ram: 1, reserved: 2 } as const;

export interface E820Entry {
  /** Guest physical address. */
  readonly base: number;
  /** Bytes. */
  readonly size: number;
  readonly type: (typeof E820_TYPE)[keyof typeof E820_TYPE];
}

/** The map of a PC with this RAM, in address order, without overlaps. */
export function e820Map(memory: GuestMemory): E820Entry[] {
  const { extendedBiosData, acpiTables } = LOW_MEMORY;
  const entries: E820Entry[] = [
    { base: 0, size: extendedBiosData.base, type: E820_TYPE.ram },
    { ...extendedBiosData, type: E820_TYPE.reserved },
    { ...acpiTables, type: E820_TYPE.reserved },
    { ...MMIO.ecam, type: E820_TYPE.reserved },
  ];
  for (const { base, size } of memory.ranges) {
    const start = Math.max(base, MIB);
    if (base + size > start) entries.push({ base: start, size: base + size - start, type: E820_TYPE.ram });
  }
  return entries.sort((a, b) => a.base - b.base);
}
