/**
 * Where everything in the PC is: guest physical addresses, I/O ports and
 * interrupt numbers. The board places devices by this file and the firmware
 * tables (e820, MADT, FADT, MCFG, DSDT) tell the guest the same numbers.
 * The layout is QEMU's q35 machine, so that its guests find what they know.
 */

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** One piece of an address space, in bytes. */
export interface Region {
  readonly base: number;
  readonly size: number;
}

/** Guest physical address space, RAM apart. */
export const MMIO = {
  /** Legacy video memory and option ROMs: no RAM is reported here. */
  legacyHole: { base: 0xa_0000, size: 0x6_0000 },
  /** PCI Express configuration space, buses 0 to 255 (PCIEXBAR, MCFG). */
  ecam: { base: 0xb000_0000, size: 256 * MIB },
  /** Where 32-bit PCI BARs may be placed (_CRS of the host bridge). */
  pciWindow: { base: 0xc000_0000, size: 0x3ec0_0000 },
  ioApic: { base: 0xfec0_0000, size: 0x1000 },
  hpet: { base: 0xfed0_0000, size: 0x400 },
  localApic: { base: 0xfee0_0000, size: 0x1000 },
  /** The BIOS flash ends at 4 GiB. */
  flash: { base: 0xffc0_0000, size: 4 * MIB },
} as const satisfies Record<string, Region>;

/** Where 64-bit PCI BARs may be placed. */
export const PCI_WINDOW_64: Region = { base: 0x80_0000_0000, size: 32 * GIB };

/** I/O port space: base port and number of ports. */
export const PORTS = {
  pic1: { base: 0x20, size: 2 },
  pit: { base: 0x40, size: 4 },
  keyboardData: { base: 0x60, size: 1 },
  systemControlB: { base: 0x61, size: 1 },
  keyboardCommand: { base: 0x64, size: 1 },
  rtc: { base: 0x70, size: 2 },
  systemControlA: { base: 0x92, size: 1 },
  pic2: { base: 0xa0, size: 2 },
  smiCommand: { base: 0xb2, size: 2 },
  debugConsole: { base: 0xe9, size: 1 },
  debugExit: { base: 0xf4, size: 4 },
  com4: { base: 0x2e8, size: 8 },
  com2: { base: 0x2f8, size: 8 },
  com3: { base: 0x3e8, size: 8 },
  com1: { base: 0x3f8, size: 8 },
  firmwareConsole: { base: 0x402, size: 1 },
  elcr: { base: 0x4d0, size: 2 },
  debugExitBochs: { base: 0x501, size: 1 },
  panic: { base: 0x505, size: 1 },
  fwCfg: { base: 0x510, size: 12 },
  powerManagement: { base: 0x600, size: 0x80 },
  /** Registers of ACPI's way to plug PCI devices, on the boards that have it. */
  pciHotplug: { base: 0xae00, size: 0x10 },
  pciAddress: { base: 0xcf8, size: 4 },
  /** Inside pciAddress's range: an 8-bit access here is the reset control register. */
  resetControl: { base: 0xcf9, size: 1 },
  pciData: { base: 0xcfc, size: 4 },
  /** Where PCI I/O BARs may be placed (_CRS of the host bridge). */
  pciWindow: { base: 0x1000, size: 0xf000 },
} as const satisfies Record<string, Region>;

/** The ACPI fixed hardware inside PORTS.powerManagement (FADT fields of the same names). */
export const ACPI = {
  pm1aEventBlock: { base: 0x600, size: 4 },
  pm1aControlBlock: { base: 0x604, size: 2 },
  pmTimerBlock: { base: 0x608, size: 4 },
  gpe0Block: { base: 0x620, size: 16 },
  smiCommandPort: 0xb2,
  enableValue: 0x02,
  disableValue: 0x03,
  /** The PM timer counts 24 bits (TMR_VAL_EXT clear in the FADT). */
  pmTimerBits: 24,
  /** SLP_TYP of _S5_ in the DSDT: soft off. */
  sleepTypeS5: 0,
  /** FADT RESET_REG (system I/O, 8 bits wide) and RESET_VALUE. */
  resetPort: 0xcf9,
  resetValue: 0x0f,
} as const;

/** ISA interrupt lines (8259 inputs). */
export const IRQ = {
  timer: 0,
  keyboard: 1,
  cascade: 2,
  com2: 3,
  com4: 3,
  com1: 4,
  com3: 4,
  rtc: 8,
  sci: 9,
  mouse: 12,
} as const;

/** How ISA lines reach the IOAPIC: the MADT's interrupt source overrides; other lines keep their number. */
export const INTERRUPT_OVERRIDES = [
  { irq: IRQ.timer, gsi: 2, trigger: 'edge', polarity: 'high' },
  { irq: IRQ.sci, gsi: 9, trigger: 'level', polarity: 'high' },
  { irq: 5, gsi: 5, trigger: 'level', polarity: 'high' },
  { irq: 10, gsi: 10, trigger: 'level', polarity: 'high' },
  { irq: 11, gsi: 11, trigger: 'level', polarity: 'high' },
] as const;

export const IO_APIC = { id: 0, gsiBase: 0, pins: 24 } as const;

/** The global system interrupt of PCI PIRQA; PIRQB to PIRQD follow. */
export const PCI_INTX_GSI_BASE = 16;

/**
 * The GSI of a function's interrupt pin on the root bus (the DSDT's _PRT).
 * @param device PCI device number, 0 to 31
 * @param pin 0 for INTA# to 3 for INTD#
 */
export function pciIntxGsi(device: number, pin: number): number {
  return PCI_INTX_GSI_BASE + ((device + pin) & 3);
}

/** ISA lines that PIRQA to PIRQD drive in PIC mode, as firmware would program the LPC bridge. */
export const PIRQ_ISA_IRQS = [10, 11, 10, 11] as const;

/** The 8259s' edge/level register as firmware would leave it: 5, 9, 10 and 11 are level. */
export const ELCR_INITIAL = (1 << 5) | (1 << 9) | (1 << 10) | (1 << 11);

/** Frequencies, in Hz. */
export const FREQUENCY = {
  pit: 1_193_182,
  pmTimer: 3_579_545,
  /** The local APIC timer before its divider: one tick a nanosecond. */
  localApicTimer: 1_000_000_000,
} as const;

/** Guest RAM as a list of regions in guest physical order: below the PCI hole, then from 4 GiB. */
export function ramRegions(sizeBytes: number): Region[] {
  const low = Math.min(sizeBytes, lowRamLimit(sizeBytes));
  const regions: Region[] = [{ base: 0, size: low }];
  if (sizeBytes > low) regions.push({ base: 4 * GIB, size: sizeBytes - low });
  return regions;
}

/** First address above low RAM: 2.75 GiB when all of RAM fits below the ECAM window, else 2 GiB (QEMU's q35). */
function lowRamLimit(sizeBytes: number): number {
  return sizeBytes <= MMIO.ecam.base ? MMIO.ecam.base : 2 * GIB;
}
