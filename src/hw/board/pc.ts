/** The PC board: every chip, placed and wired, and what the machine may ask of it. */
import type {
  Bus,
  CharPort,
  Clock,
  CpuSignals,
  Device,
  Doorbells,
  GuestMemory,
  InterruptControllers,
  IrqLine,
  LocalApic,
  MsiSink,
  WallClock,
} from '../../contract/index.ts';
import { MmioBus, PortBus } from '../bus/index.ts';
import type { PciFunction } from '../pci/index.ts';
import { FwCfg } from '../platform/fw-cfg.ts';
import type { VirtioDevice } from '../virtio/index.ts';
import type { Chips } from './chips.ts';
import {
  acceleratedInterrupts,
  controlChips,
  debugConsoleChips,
  interruptChips,
  pciChips,
  serialChips,
  timerChips,
} from './chips.ts';
import { PORTS } from './memory-map.ts';
import { virtioFunction } from './virtio.ts';

/** What the board is plugged into. */
export interface PcOptions {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly wallClock: WallClock;
  /** The pins of each CPU; its number is its APIC id. */
  readonly cpus: readonly CpuSignals[];
  /** COM1 to COM4; a port that is not given is not there. */
  readonly serial: readonly (CharPort | undefined)[];
  /** Takes what is written to the debug console ports E9h and 402h. */
  readonly debugConsole?: CharPort;
  /** When the guest's TSC has the 64-bit value high:low, in the clock's nanoseconds; may be past or infinite. */
  readonly nanosFromTsc: (low: number, high: number) => number;
  /** The accelerator's interrupt controllers and timer chip, instead of the board's own. */
  readonly interrupts?: InterruptControllers;
  /** Where devices may have their doorbells watched. */
  readonly doorbells?: Doorbells;
  /** The guest switched itself off. All its output has been handed over before any of these calls. */
  onPowerOff(): void;
  onReset(): void;
  /** @param value what the guest wrote to the debug-exit port */
  onDebugExit(value: number): void;
  /** Told, one line each, what a guest's driver did wrong to its device. */
  onGuestError?(message: string): void;
}

export interface PcBoard {
  readonly ports: Bus;
  readonly mmio: Bus;
  /** By number of the CPU; one that stands for all where the accelerator has the interrupt controllers. */
  readonly apics: readonly LocalApic[];
  /** Accesses to the local APIC's window come from this CPU from now on. */
  selectCpu(index: number): void;
  readonly hasKeyboardController: boolean;
  readonly fwCfg: FwCfg;
  /** Where devices send message-signalled interrupts. */
  readonly msi: MsiSink;
  /** Every device with state, in the order of resetting and restoring. */
  readonly devices: readonly Device[];
  /** Puts a function on the root PCI bus. */
  addPciFunction(device: number, functionNumber: number, pciFunction: PciFunction): void;
  /** Puts a virtio device on the root PCI bus as function 0 of a device number. */
  addVirtio(deviceNumber: number, device: VirtioDevice): void;
  /** A driver of a PCI device's interrupt pin, 0 for INTA#. */
  pciInterrupt(device: number, pin: number): IrqLine;
  /** A short press of the power button: asks the guest to shut down. */
  pressPowerButton(): void;
  /** Power-up state of every device. */
  reset(): void;
  /** Hands over output that devices still hold, a millisecond's at most. */
  flush(): void;
}

export function createPcBoard(options: PcOptions): PcBoard {
  const buses = { ports: new PortBus(), mmio: new MmioBus(options.doorbells) };
  const groups: Chips[] = [];
  const add = <T extends Chips>(chips: T): T => {
    groups.push(chips);
    for (const [region, device, name] of chips.ports) buses.ports.map(region.base, region.size, device, name);
    for (const [region, device, name] of chips.mmio ?? []) buses.mmio.map(region.base, region.size, device, name);
    return chips;
  };
  const flush = () => {
    for (const buffer of groups.flatMap((chips) => chips.buffers ?? [])) buffer.flush();
  };
  const exits = {
    powerOff() {
      flush();
      options.onPowerOff();
    },
    reset() {
      flush();
      options.onReset();
    },
    debugExit(value: number) {
      flush();
      options.onDebugExit(value);
    },
  };

  const { interrupts } = options;
  const { apics, selectCpu, fabric, wiring } = add(
    interrupts ? acceleratedInterrupts(interrupts, options.clock) : interruptChips(options),
  );
  add(timerChips(options, wiring, interrupts !== undefined));
  const { pm, resetControl } = add(controlChips(options, wiring, exits));
  const { pci } = add(pciChips(buses, wiring, resetControl));
  add(serialChips(options, wiring));
  add(debugConsoleChips(options.debugConsole, options.clock));
  const fwCfg = new FwCfg(options.memory);
  add({ devices: [fwCfg], ports: [[PORTS.fwCfg, fwCfg, 'fw-cfg']] });

  const devices = groups.flatMap((chips) => chips.devices);
  return {
    ...buses,
    apics,
    selectCpu,
    hasKeyboardController: true,
    fwCfg,
    msi: fabric,
    devices,
    addPciFunction(device, functionNumber, pciFunction) {
      pci.add(device, functionNumber, pciFunction);
      devices.push(pciFunction);
    },
    addVirtio(deviceNumber, device) {
      const { memory, onGuestError } = options;
      const intx = wiring.pci(deviceNumber, 0);
      const placed = virtioFunction(device, { ...buses, memory, msi: fabric, intx, onGuestError });
      pci.add(deviceNumber, 0, placed.pciFunction);
      devices.push(...placed.devices);
    },
    pciInterrupt: (device, pin) => wiring.pci(device, pin),
    pressPowerButton: () => pm.pressPowerButton(),
    reset() {
      for (const device of devices) device.reset();
    },
    flush,
  };
}
