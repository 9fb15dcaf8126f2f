/** Firmware without a BIOS: kernel loaders, the memory map and the ACPI tables. */
export type { AcpiOptions, AcpiTable, AcpiTableText } from './acpi.ts';
export { acpiTables, ownAcpiTable, putAcpiTables } from './acpi.ts';
export { loadKernel } from './detect.ts';
export type { E820Entry } from './e820.ts';
export { E820_TYPE, e820Map } from './e820.ts';
export type { BootRequest, LoadedKernel } from './load.ts';
export { putSmbios, SMBIOS_FIELDS, type SmbiosOptions } from './smbios.ts';
