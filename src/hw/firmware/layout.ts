/**
 * Where the loaders put what they build in low RAM. All of it lies below
 * 640 KiB, clear of the page that real-mode vectors and the BIOS data area own,
 * and is free for the guest again once it has read it.
 */

export const KIB = 1024;
export const MIB = 1024 * KIB;

export const LOW_MEMORY = {
  gdt: 0x500,
  /** PVH's hvm_start_info or the multiboot information, with their lists. */
  startInfo: { base: 0x1000, size: 0x6000 },
  /** Linux's struct boot_params. */
  zeroPage: { base: 0x7000, size: 0x1000 },
  /** PML4, PDPT and four page directories. */
  pageTables: { base: 0x9000, size: 0x6000 },
  commandLine: { base: 0x2_0000, size: 0x1_0000 },
  /** Extended BIOS data area: reported reserved. */
  extendedBiosData: { base: 0x9_fc00, size: 0x400 },
  /** Where ACPI tables live; the RSDP is at its start, where a BIOS scan looks (ACPI 6.4, 5.2.5.1). */
  acpiTables: { base: 0xe_0000, size: 0x2_0000 },
  /** The end of the same area: SMBIOS tables, for a kernel that looks through the last 64 KiB below 1 MiB. */
  smbios: { base: 0xf_c000, size: 0x4000 },
} as const;

/** First address above the legacy area, where kernels are loaded. */
export const HIGH_MEMORY_BASE = MIB;

/** Flat segment descriptors that every boot protocol here asks for (Intel SDM vol. 3, 3.4.5). */
const DESCRIPTOR = {
  code64: 0x00af_9a00_0000_ffffn,
  code32: 0x00cf_9a00_0000_ffffn,
  data: 0x00cf_9200_0000_ffffn,
  /** 32-bit busy TSS at 0, limit 0x67. */
  task: 0x0000_8b00_0000_0067n,
} as const;

/** Selectors into the loaders' GDT; 0x10 and 0x18 are Linux's __BOOT_CS and __BOOT_DS. */
export const SELECTORS = { code: 0x10, data: 0x18, task: 0x20 } as const;

/** A GDT of five entries: null, null, code, data, task. */
export function flatGdt(code: 'code32' | 'code64'): Uint8Array {
  const bytes = new Uint8Array(5 * 8);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(SELECTORS.code, DESCRIPTOR[code], true);
  view.setBigUint64(SELECTORS.data, DESCRIPTOR.data, true);
  view.setBigUint64(SELECTORS.task, DESCRIPTOR.task, true);
  return bytes;
}
