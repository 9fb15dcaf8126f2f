/** The two chips of the Q35 chipset that every guest looks for: the memory controller hub and the ICH9's LPC bridge. */
import type { Bus, IrqLine } from '../../contract/index.ts';
import { PciFunction } from './function.ts';

const INTEL = 0x8086;
/** As QEMU's devices say who built them. */
const SUBSYSTEM = { subsystemVendorId: 0x1af4, subsystemId: 0x1100 };
const ENABLED = 1;
const PIRQ = { first: 0x60, second: 0x68, off: 0x80, irqMask: 0x0f };

export interface HostBridgeOptions {
  readonly mmio: Bus;
  readonly ports: Bus;
  /** Where the configuration window is; the guest can read it and not move it. */
  readonly ecamBase: number;
}

/** The MCH at 00:00.0: Intel 3 Series Express Chipset datasheet, chapter 5. */
export function hostBridge({ mmio, ports, ecamBase }: HostBridgeOptions): PciFunction {
  return new PciFunction({
    name: 'mch',
    identity: { vendorId: INTEL, deviceId: 0x29c0, revision: 0, classCode: 0x06_00_00, ...SUBSYSTEM },
    rows: [{ name: 'PCIEXBAR', offset: 0x60, width: 4, initial: ecamBase | ENABLED }],
    mmio,
    ports,
  });
}

export interface LpcBridgeOptions {
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly pmBase: number;
  /** ISA lines that PIRQA to PIRQD drive at power-up, as firmware would program them. */
  readonly pirqIsaIrqs: readonly number[];
  /** The 8259 inputs that PCI interrupts may be routed to. */
  readonly isaLine: (irq: number) => IrqLine;
}

/** The ICH9 LPC bridge at 00:1f.0 and its PCI interrupt routing: ICH9 datasheet, 13.1. */
export class LpcBridge {
  readonly pci: PciFunction;
  readonly #isaLines: ReadonlyMap<number, IrqLine>;
  readonly #pirqLevels: boolean[] = [false, false, false, false];

  constructor(options: LpcBridgeOptions) {
    const routable = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15]; // 13.1.15: the others are reserved
    this.#isaLines = new Map(routable.map((irq) => [irq, options.isaLine(irq)]));
    this.pci = new PciFunction({
      name: 'lpc-bridge',
      identity: {
        vendorId: INTEL,
        deviceId: 0x2918,
        revision: 2,
        classCode: 0x06_01_00,
        multifunction: true,
        ...SUBSYSTEM,
      },
      rows: [
        { name: 'PMBASE', offset: 0x40, width: 4, initial: options.pmBase | 1 },
        { name: 'ACPI_CNTL', offset: 0x44, width: 1, initial: 0x80 },
        ...options.pirqIsaIrqs.map((initial, i) => routeRow(PIRQ.first + i, initial)),
        ...[0, 1, 2, 3].map((i) => routeRow(PIRQ.second + i, PIRQ.off)),
      ],
      mmio: options.mmio,
      ports: options.ports,
      onConfigChange: () => this.#route(),
    });
  }

  /** PIRQA (0) to PIRQD (3), as functions drive them. */
  pirq(index: number): IrqLine {
    return {
      set: (level) => {
        this.#pirqLevels[index] = level;
        this.#route();
      },
    };
  }

  /** An ISA line is high while any PIRQ routed to it is. */
  #route(): void {
    for (const [irq, line] of this.#isaLines) {
      line.set(this.#pirqLevels.some((level, i) => level && this.#routedTo(i) === irq));
    }
  }

  #routedTo(index: number): number | undefined {
    const route = this.pci.config[PIRQ.first + index];
    return route & PIRQ.off ? undefined : route & PIRQ.irqMask;
  }
}

function routeRow(offset: number, initial: number) {
  return { name: `PIRQ route ${offset.toString(16)}`, offset, width: 1, initial, writable: 0x8f } as const;
}
