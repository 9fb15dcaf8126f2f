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
import type { BridgeKind, VirtioPciMode } from '../names.ts';
import type { Bridge, PciFunction, PciSegment, RootPort, RootPortOptions } from '../pci/index.ts';
import { AcpiHotplug, conventionalBridge, rootPort } from '../pci/index.ts';
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
  splitInterrupts,
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
  /** Devices can be plugged into the root bus by ACPI: the guest is done with what is in a slot. */
  onEject?(slot: number): void;
  /** Told, one line each, what a guest's driver did wrong to its device. */
  onGuestError?(message: string): void;
}

export interface BridgePlace {
  readonly name: string;
  readonly slot: number;
  /** Default: the root bus. */
  readonly bus?: PciSegment;
}

export interface VirtioPlace {
  readonly slot: number;
  /** Default: the root bus. */
  readonly bus?: PciSegment;
  /** Default `modern`. */
  readonly mode?: VirtioPciMode;
}

export interface PlacedDevice {
  /** Takes it off its bus and out of the board's devices. */
  remove(): void;
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
  /** Where devices can be plugged into the root bus by ACPI. */
  readonly hotplug?: AcpiHotplug;
  /** Bus 0. */
  readonly rootBus: PciSegment;
  /** Puts a function on the root PCI bus. */
  addPciFunction(device: number, functionNumber: number, pciFunction: PciFunction): void;
  /** Puts a bridge on a bus; devices go on its `segment`. */
  addBridge(kind: 'pci-bridge', place: BridgePlace): Bridge;
  addBridge(kind: 'pcie-root-port', place: BridgePlace & Pick<RootPortOptions, 'number' | 'onPowerOff'>): RootPort;
  /** Puts a virtio device on a bus as function 0 of a device number. */
  addVirtio(device: VirtioDevice, place: VirtioPlace): PlacedDevice;
  /** Puts any function on a bus, with what else of it has state, in the order of restoring. */
  addFunction(
    pciFunction: PciFunction,
    parts: readonly Device[],
    place: Pick<VirtioPlace, 'slot' | 'bus'>,
  ): PlacedDevice;
  /** Adds what has state, of a device that was put on the buses. */
  addDevice(device: Device): void;
  /** A driver of an ISA interrupt line, 0 to 15. */
  isaInterrupt(line: number): IrqLine;
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
    interrupts === undefined
      ? interruptChips(options)
      : interrupts.kind === 'split'
        ? splitInterrupts(interrupts, options.clock)
        : acceleratedInterrupts(interrupts, options.clock),
  );
  add(timerChips(options, wiring, interrupts?.kind === 'whole'));
  const { pm, resetControl } = add(controlChips(options, wiring, exits));
  const { pci } = add(pciChips(buses, wiring, resetControl));
  add(serialChips(options, wiring));
  add(debugConsoleChips(options.debugConsole, options.clock));
  const fwCfg = new FwCfg(options.memory);
  add({ devices: [fwCfg], ports: [[PORTS.fwCfg, fwCfg, 'fw-cfg']] });

  const { onEject } = options;
  const hotplug = onEject && new AcpiHotplug({ name: 'pci-hotplug', raise: () => pm.raiseEvent(1), onEject });
  if (hotplug) add({ devices: [hotplug], ports: [[PORTS.pciHotplug, hotplug.registers, 'pci hotplug']] });
  const devices = groups.flatMap((chips) => chips.devices);
  /** What has state of a PCI function. */
  const partsOf = new Map<PciFunction, readonly Device[]>();
  const addParts = (
    pciFunction: PciFunction,
    parts: readonly Device[],
    { slot, bus = pci.root }: Pick<VirtioPlace, 'slot' | 'bus'>,
  ): PlacedDevice => {
    bus.add(slot, 0, pciFunction);
    partsOf.set(pciFunction, parts);
    devices.push(...parts);
    return {
      remove() {
        bus.remove(pciFunction);
        for (const part of parts) {
          part.reset();
          devices.splice(devices.indexOf(part), 1);
        }
      },
    };
  };
  return {
    ...buses,
    rootBus: pci.root,
    hotplug,
    apics,
    selectCpu,
    hasKeyboardController: true,
    fwCfg,
    msi: fabric,
    devices,
    addPciFunction(device, functionNumber, pciFunction) {
      pci.root.add(device, functionNumber, pciFunction);
      devices.push(pciFunction);
    },
    addBridge(kind: BridgeKind, place: BridgePlace & { number?: number }) {
      const upstream = place.bus ?? pci.root;
      const options = {
        ...place,
        upstream,
        intx: upstream.interrupt(place.slot, 0),
        onSecondaryReset() {
          for (const pciFunction of bridge.segment.functions) {
            for (const part of partsOf.get(pciFunction) ?? []) part.reset();
          }
        },
      };
      const bridge: Bridge =
        kind === 'pci-bridge'
          ? conventionalBridge(options)
          : rootPort({ ...options, number: place.number ?? place.slot, msi: fabric });
      upstream.add(place.slot, 0, bridge.pciFunction, bridge);
      devices.push(bridge.pciFunction);
      return bridge as RootPort;
    },
    addVirtio(device, { slot, bus = pci.root, mode }) {
      const { memory, onGuestError } = options;
      const { mmio, ports, mayMaster } = bus;
      const intx = bus.interrupt(slot, 0);
      const placed = virtioFunction(device, { mmio, ports, mayMaster, mode, memory, msi: fabric, intx, onGuestError });
      return addParts(placed.pciFunction, placed.devices, { slot, bus });
    },
    addFunction: (pciFunction, parts, place) => addParts(pciFunction, [pciFunction, ...parts], place),
    addDevice: (device) => {
      devices.push(device);
    },
    isaInterrupt: (line) => wiring.isa(line),
    pciInterrupt: (device, pin) => wiring.pci(device, pin),
    pressPowerButton: () => pm.pressPowerButton(),
    reset() {
      for (const device of devices) device.reset();
    },
    flush,
  };
}
