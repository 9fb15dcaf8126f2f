/**
 * The ACPI tables that describe the board to the guest: RSDP, RSDT, XSDT,
 * FADT, FACS, MADT, MCFG and DSDT. Spec: ACPI 6.4, chapter 5.2.
 */
import { UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { ACPI, INTERRUPT_OVERRIDES, IO_APIC, IRQ, MMIO } from '../board/memory-map.ts';
import { ascii, u16, u32, u64 } from './bytes.ts';
import { dsdtAml } from './dsdt.ts';
import { LOW_MEMORY } from './layout.ts';
import { putBytes } from './load.ts';

export interface AcpiOptions {
  /** Processors, with APIC ids 0 to cpuCount − 1. */
  readonly cpuCount: number;
  /** True when the board has an i8042 with a keyboard behind it; guests probe for a long time otherwise. */
  readonly keyboardController: boolean;
  /** Devices can be plugged into the root bus by ACPI. */
  readonly pciHotplug?: boolean;
  /** There is a port by which the guest says that it panicked. */
  readonly panicPort?: boolean;
  /** More tables, each whole with its header. */
  readonly extraTables?: readonly Uint8Array[];
}

/** One table and where it goes. */
export interface AcpiTable {
  readonly signature: string;
  /** Guest physical address. */
  readonly base: number;
  readonly bytes: Uint8Array;
}

type Bytes = readonly number[];

/** Puts the tables into the area that the e820 map reserves for them; returns the RSDP's address. */
export function putAcpiTables(memory: GuestMemory, options: AcpiOptions): number {
  for (const table of acpiTables(options)) putBytes(memory, table.base, table.bytes);
  return LOW_MEMORY.acpiTables.base;
}

/** All tables with their addresses, the RSDP first. */
export function acpiTables(options: AcpiOptions): AcpiTable[] {
  const tables: AcpiTable[] = [];
  const { base: areaBase, size: areaSize } = LOW_MEMORY.acpiTables;
  const RSDP_SIZE = 36;
  let next = areaBase + 64; // the RSDP comes first and is written last
  const place = (signature: string, content: Bytes): number => {
    const base = Math.ceil(next / 64) * 64; // the FACS asks for 64; the others do not mind
    next = base + content.length;
    if (next > areaBase + areaSize - LOW_MEMORY.smbios.size) throw new UserError('the ACPI tables outgrow their area');
    tables.push({ signature, base, bytes: Uint8Array.from(content) });
    return base;
  };
  const dsdt = place('DSDT', table('DSDT', 2, dsdtAml(options)));
  const facs = place('FACS', facsBytes());
  const listed = [
    place('FACP', table('FACP', 6, fadtBody(dsdt, facs, options))),
    place('APIC', table('APIC', 4, madtBody(options.cpuCount))),
    place('MCFG', table('MCFG', 1, mcfgBody())),
    ...(options.extraTables ?? []).map((bytes) => place(String.fromCharCode(...bytes.subarray(0, 4)), [...bytes])),
  ];
  const rsdt = place('RSDT', table('RSDT', 1, listed.flatMap(u32)));
  const xsdt = place('XSDT', table('XSDT', 1, listed.flatMap(u64)));
  const rsdp = Uint8Array.from(rsdpBytes(rsdt, xsdt, RSDP_SIZE));
  return [{ signature: 'RSD PTR ', base: areaBase, bytes: rsdp }, ...tables];
}

const HEADER_BYTES = 36;

export interface AcpiTableText {
  readonly sig?: string;
  readonly rev?: number;
  readonly oemId?: string;
  readonly oemTableId?: string;
  readonly oemRev?: number;
  readonly aslCompilerId?: string;
  readonly aslCompilerRev?: number;
}

/** A table of a person's own: with a header around `data`, or, with `isWhole`, one that has its header. @throws UserError */
export function ownAcpiTable(data: Uint8Array, isWhole: boolean, text: AcpiTableText = {}): Uint8Array {
  if (isWhole && data.length < HEADER_BYTES) throw new UserError(`an ACPI table has at least ${HEADER_BYTES} bytes`);
  const bytes = [...(isWhole ? data : Uint8Array.from([...table('OEM0', 1, []), ...data]))];
  const put = (at: number, value: string | undefined, length: number) => {
    if (value === undefined) return;
    if (value.length > length) throw new UserError(`'${value}' has more than ${length} characters`);
    for (const [i, byte] of ascii(value.padEnd(length, ' ')).entries()) bytes[at + i] = byte;
  };
  const number = (at: number, value: number | undefined) => {
    if (value !== undefined) for (const [i, byte] of u32(value).entries()) bytes[at + i] = byte;
  };
  put(0, text.sig, 4);
  if (text.rev !== undefined) bytes[8] = text.rev & 0xff;
  put(10, text.oemId, 6);
  put(16, text.oemTableId, 8);
  number(24, text.oemRev);
  put(28, text.aslCompilerId, 4);
  number(32, text.aslCompilerRev);
  number(4, bytes.length);
  bytes[9] = 0;
  bytes[9] = checksum(bytes);
  return Uint8Array.from(bytes);
}

/** Prepends the common header (5.2.6) and sets its checksum. */
function table(signature: string, revision: number, body: Bytes): Bytes {
  const bytes = [
    ...ascii(signature),
    ...u32(HEADER_BYTES + body.length),
    revision,
    0, // checksum
    ...ascii('VIREO '),
    ...ascii('VIREOPC '),
    ...u32(1),
    ...ascii('VIRE'),
    ...u32(1),
    ...body,
  ];
  bytes[9] = checksum(bytes);
  return bytes;
}

/** Root System Description Pointer, revision 2 (5.2.5.3). */
function rsdpBytes(rsdt: number, xsdt: number, size: number): Bytes {
  const bytes = [...ascii('RSD PTR '), 0, ...ascii('VIREO '), 2, ...u32(rsdt), ...u32(size), ...u64(xsdt), 0, 0, 0, 0];
  const VERSION_1_SIZE = 20;
  bytes[8] = checksum(bytes.slice(0, VERSION_1_SIZE));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** Firmware ACPI Control Structure, version 2 (5.2.10): no waking vector, no global lock held. */
function facsBytes(): Bytes {
  const SIZE = 64;
  return [...ascii('FACS'), ...u32(SIZE), ...zeroes(24), 2, ...zeroes(31)];
}

/** Fixed ACPI Description Table, revision 6 (5.2.9). */
function fadtBody(dsdt: number, facs: number, options: AcpiOptions): Bytes {
  const FLAGS = { wbinvd: 1 << 0, procC1: 1 << 2, noSleepButton: 1 << 5, rtcNotFixed: 1 << 6, resetRegister: 1 << 10 };
  const BOOT_ARCH = { legacyDevices: 1 << 0, keyboardController: 1 << 1, noVga: 1 << 2 };
  const DESKTOP = 1;
  const NOT_SUPPORTED_C2_C3 = [...u16(0xffff), ...u16(0xffff)];
  const { pm1aEventBlock, pm1aControlBlock, pmTimerBlock, gpe0Block } = ACPI;
  return [
    ...u32(facs),
    ...u32(dsdt),
    0,
    DESKTOP,
    ...u16(IRQ.sci),
    ...u32(ACPI.smiCommandPort),
    ACPI.enableValue,
    ACPI.disableValue,
    0, // S4BIOS_REQ
    0, // PSTATE_CNT
    ...[pm1aEventBlock.base, 0, pm1aControlBlock.base, 0, 0, pmTimerBlock.base, gpe0Block.base, 0].flatMap(u32),
    ...[pm1aEventBlock.size, pm1aControlBlock.size, 0, pmTimerBlock.size, gpe0Block.size, 0, 0, 0],
    ...NOT_SUPPORTED_C2_C3,
    ...zeroes(8), // FLUSH_SIZE to MON_ALRM
    0x32, // CENTURY: the CMOS byte
    ...u16(BOOT_ARCH.legacyDevices | BOOT_ARCH.noVga | (options.keyboardController ? BOOT_ARCH.keyboardController : 0)),
    0,
    ...u32(FLAGS.wbinvd | FLAGS.procC1 | FLAGS.noSleepButton | FLAGS.rtcNotFixed | FLAGS.resetRegister),
    ...ioAddress(ACPI.resetPort, 1),
    ACPI.resetValue,
    ...u16(0), // ARM_BOOT_ARCH
    3, // FADT minor version
    ...u64(0), // X_FIRMWARE_CTRL: FIRMWARE_CTRL has it
    ...u64(dsdt),
    ...ioAddress(pm1aEventBlock.base, pm1aEventBlock.size),
    ...NO_ADDRESS,
    ...ioAddress(pm1aControlBlock.base, pm1aControlBlock.size),
    ...NO_ADDRESS,
    ...NO_ADDRESS,
    ...ioAddress(pmTimerBlock.base, pmTimerBlock.size),
    ...ioAddress(gpe0Block.base, gpe0Block.size),
    ...NO_ADDRESS,
    ...NO_ADDRESS, // SLEEP_CONTROL_REG
    ...NO_ADDRESS, // SLEEP_STATUS_REG
    ...zeroes(8), // hypervisor vendor
  ];
}

/** Multiple APIC Description Table (5.2.12). */
function madtBody(cpuCount: number): Bytes {
  const PCAT_COMPAT = 1;
  const ENABLED = 1;
  const ALL_PROCESSORS = 0xff;
  const localApics = Array.from({ length: cpuCount }, (_, id) => [0, 8, id, id, ...u32(ENABLED)]);
  const overrides = INTERRUPT_OVERRIDES.map(({ irq, gsi, trigger, polarity }) => {
    const flags = (polarity === 'high' ? 1 : 3) | (trigger === 'edge' ? 1 << 2 : 3 << 2);
    return [2, 10, 0, irq, ...u32(gsi), ...u16(flags)];
  });
  return [
    ...u32(MMIO.localApic.base),
    ...u32(PCAT_COMPAT),
    ...localApics.flat(),
    ...[1, 12, IO_APIC.id, 0, ...u32(MMIO.ioApic.base), ...u32(IO_APIC.gsiBase)],
    ...overrides.flat(),
    ...[4, 6, ALL_PROCESSORS, ...u16(0), 1], // NMI on LINT1
  ];
}

/** PCI Express memory-mapped configuration space (PCI Firmware 3.2, 4.1.2): one segment. */
function mcfgBody(): Bytes {
  const lastBus = MMIO.ecam.size / 0x10_0000 - 1;
  return [...zeroes(8), ...u64(MMIO.ecam.base), ...u16(0), 0, lastBus, ...u32(0)];
}

/** Generic Address Structure (5.2.3.2) of an I/O port block; blocks above 4 bytes give their first byte's width. */
function ioAddress(base: number, sizeBytes: number): Bytes {
  const SYSTEM_IO = 1;
  const accessSize = sizeBytes === 1 ? 1 : sizeBytes === 2 ? 2 : sizeBytes === 4 ? 3 : 1;
  return [SYSTEM_IO, sizeBytes * 8, 0, accessSize, ...u64(base)];
}

const NO_ADDRESS: Bytes = zeroes(12);

/** The byte that makes the sum of all bytes 0 modulo 256. */
function checksum(bytes: Bytes): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function zeroes(count: number): number[] {
  return new Array<number>(count).fill(0);
}
