/** The PC's chips in groups: each made, placed by memory-map.ts and wired. */
import type {
  Bus,
  BusDevice,
  CharPort,
  Clock,
  CpuSignals,
  Device,
  GuestMemory,
  IrqLine,
  LocalApic,
  MsiSink,
  SplitInterruptControllers,
  WallClock,
  WholeInterruptControllers,
} from '../../contract/index.ts';
import { byteWide, dwordWide } from '../bus/index.ts';
import { InterruptFabric, IoApic, Lapic, Pic8259Pair } from '../interrupt/index.ts';
import { hostBridge, LpcBridge, PciBus, PciSegment } from '../pci/index.ts';
import { debugConsole, debugExit } from '../platform/debug.ts';
import { I8042 } from '../platform/i8042.ts';
import { SystemControlA } from '../platform/system-control-a.ts';
import { AcpiPm } from '../power/acpi-pm.ts';
import { ResetControl } from '../power/reset-control.ts';
import { OutputBuffer } from '../serial/output-buffer.ts';
import { Uart16550 } from '../serial/uart16550.ts';
import { Pit8254 } from '../timer/pit8254.ts';
import { Rtc146818 } from '../timer/rtc146818.ts';
import { SystemControlB } from '../timer/system-control-b.ts';
import { acceleratedDevices, localApicDevices } from './accelerated-chips.ts';
import { cmosContents } from './cmos.ts';
import { InterruptWiring } from './interrupts.ts';
import type { Region } from './memory-map.ts';
import { ACPI, ELCR_INITIAL, IRQ, MMIO, PIRQ_ISA_IRQS, PORTS } from './memory-map.ts';

/** The serial ports by number. */
const SERIAL = [
  { name: 'com1', region: PORTS.com1, irq: IRQ.com1 },
  { name: 'com2', region: PORTS.com2, irq: IRQ.com2 },
  { name: 'com3', region: PORTS.com3, irq: IRQ.com3 },
  { name: 'com4', region: PORTS.com4, irq: IRQ.com4 },
] as const;

export type Placement = readonly [region: Region, device: BusDevice, name: string];

/** Some chips: what has state, what is in which address space, and what holds output back. */
export interface Chips {
  readonly devices: readonly Device[];
  readonly ports: readonly Placement[];
  readonly mmio?: readonly Placement[];
  readonly buffers?: readonly { flush(): void }[];
}

/** What the guest may do to its machine as a whole. */
export interface Exits {
  powerOff(): void;
  reset(): void;
  debugExit(value: number): void;
}

/** A local APIC for each CPU; the window at FEE00000h leads to that of the CPU that was selected. */
export function interruptChips(options: {
  readonly cpus: readonly CpuSignals[];
  readonly clock: Clock;
  readonly nanosFromTsc: (low: number, high: number) => number;
}): Chips & {
  apics: readonly Lapic[];
  selectCpu(index: number): void;
  fabric: InterruptFabric;
  wiring: InterruptWiring;
} {
  const fabric = new InterruptFabric();
  let lint0: IrqLine | undefined;
  const intr: IrqLine = { set: (level) => lint0?.set(level) }; // the 8259s and the local APIC point at each other
  const pic = new Pic8259Pair({ name: 'pic', intr, initialElcr: ELCR_INITIAL });
  const apics = options.cpus.map(
    (cpu, id) => new Lapic({ ...options, cpu, name: `lapic${id}`, id, bootstrap: id === 0, fabric, external: pic }),
  );
  lint0 = apics[0].lint0;
  let selected = apics[0];
  const window: BusDevice = {
    read: (offset, size) => selected.mmio.read(offset, size),
    write: (offset, size, value) => selected.mmio.write(offset, size, value),
  };
  const ioApic = new IoApic({ name: 'ioapic', sink: fabric });
  fabric.addEoiListener(ioApic);
  return {
    apics,
    selectCpu(index) {
      selected = apics[index];
    },
    fabric,
    wiring: new InterruptWiring(pic, ioApic),
    devices: [pic, ...apics, ioApic],
    ports: [
      [PORTS.pic1, pic.master, 'pic1'],
      [PORTS.pic2, pic.slave, 'pic2'],
      [PORTS.elcr, pic.elcr, 'elcr'],
    ],
    mmio: [
      [MMIO.localApic, window, 'local APIC'],
      [MMIO.ioApic, dwordWide(ioApic), 'I/O APIC'],
    ],
  };
}

/** Local APICs of the accelerator, and the rest of the board's own. */
export function splitInterrupts(
  controllers: SplitInterruptControllers,
  clock: Clock,
): Chips & { apics: readonly LocalApic[]; selectCpu(index: number): void; fabric: MsiSink; wiring: InterruptWiring } {
  const { msi, external, localApics } = controllers;
  const pic = new Pic8259Pair({ name: 'pic', intr: external, initialElcr: ELCR_INITIAL });
  const onMessages = (messages: Parameters<typeof controllers.setIoApicMessages>[0]) =>
    controllers.setIoApicMessages(messages);
  const ioApic = new IoApic({ name: 'ioapic', sink: msi, onMessages });
  controllers.connect(pic, (vector) => ioApic.endOfInterrupt(vector));
  return {
    apics: [controllers.apic],
    selectCpu() {},
    fabric: msi,
    wiring: new InterruptWiring(pic, ioApic),
    devices: [pic, ...localApicDevices(localApics, clock, () => pic.pending()), ioApic],
    ports: [
      [PORTS.pic1, pic.master, 'pic1'],
      [PORTS.pic2, pic.slave, 'pic2'],
      [PORTS.elcr, pic.elcr, 'elcr'],
    ],
    mmio: [[MMIO.ioApic, dwordWide(ioApic), 'I/O APIC']],
  };
}

/** All of them from the accelerator. */
export function acceleratedInterrupts(
  controllers: WholeInterruptControllers,
  clock: Clock,
): Chips & { apics: readonly LocalApic[]; selectCpu(index: number): void; fabric: MsiSink; wiring: InterruptWiring } {
  return {
    apics: [controllers.apic],
    selectCpu() {},
    fabric: controllers.msi,
    wiring: new InterruptWiring({ line: controllers.pic }, { line: controllers.ioApic }),
    devices: acceleratedDevices(controllers.chips, clock),
    ports: [],
  };
}

/** @param hasTimer the timer chip is there already */
export function timerChips(
  options: { readonly memory: GuestMemory; readonly clock: Clock; readonly wallClock: WallClock },
  wiring: InterruptWiring,
  hasTimer: boolean,
): Chips {
  const { memory, clock, wallClock } = options;
  const cmos = cmosContents(memory.size);
  const rtc = new Rtc146818({ name: 'rtc', irq: wiring.isa(IRQ.rtc), clock, wallClock, cmos });
  const clockPorts: Placement = [PORTS.rtc, byteWide(rtc), 'rtc'];
  if (hasTimer) return { devices: [rtc], ports: [clockPorts] };
  const pit = new Pit8254({ name: 'pit', irq: wiring.isa(IRQ.timer), clock });
  const systemControlB = new SystemControlB({ timer: pit, clock });
  return {
    devices: [pit, systemControlB, rtc],
    ports: [
      [PORTS.pit, byteWide(pit), 'pit'],
      [PORTS.systemControlB, byteWide(systemControlB), 'system-control-b'],
      clockPorts,
    ],
  };
}

/** Power, reset and the A20 gate. */
export function controlChips(
  options: { readonly cpus: readonly CpuSignals[]; readonly clock: Clock },
  wiring: InterruptWiring,
  exits: Exits,
): Chips & { pm: AcpiPm; resetControl: ResetControl } {
  const pm = new AcpiPm({
    name: 'acpi-pm',
    sci: wiring.isa(IRQ.sci),
    clock: options.clock,
    sleepTypeS5: ACPI.sleepTypeS5,
    enableValue: ACPI.enableValue,
    disableValue: ACPI.disableValue,
    powerOff: exits.powerOff,
  });
  const a20 = a20Gate(options.cpus);
  const onReset = exits.reset;
  const systemControlA = new SystemControlA({ setA20: a20(), onReset });
  const i8042 = new I8042({
    keyboardIrq: wiring.isa(IRQ.keyboard),
    mouseIrq: wiring.isa(IRQ.mouse),
    setA20: a20(),
    onReset,
  });
  const resetControl = new ResetControl(onReset);
  return {
    pm,
    resetControl,
    devices: [pm, systemControlA, i8042, resetControl],
    ports: [
      [PORTS.powerManagement, pm.registers, 'acpi-pm'],
      [PORTS.smiCommand, pm.smiPorts, 'smi command'],
      [PORTS.systemControlA, byteWide(systemControlA), 'system-control-a'],
      [PORTS.keyboardData, i8042.data, 'i8042 data'],
      [PORTS.keyboardCommand, i8042.command, 'i8042 command'],
      [PORTS.debugExit, debugExit(exits.debugExit), 'debug exit'],
      [PORTS.debugExitBochs, debugExit(exits.debugExit), 'debug exit'],
    ],
  };
}

/** The root bus with its two chipset functions. The reset control register shares its port with the bus's. */
export function pciChips(
  buses: { readonly mmio: Bus; readonly ports: Bus },
  wiring: InterruptWiring,
  resetControl: ResetControl,
): Chips & { pci: PciBus } {
  const root = new PciSegment({
    ...buses,
    mayMaster: () => true,
    interrupt: (device, pin) => wiring.pci(device, pin),
  });
  const pci = new PciBus(resetControl, root);
  const mch = hostBridge({ ...buses, ecamBase: MMIO.ecam.base });
  const lpc = new LpcBridge({
    ...buses,
    pmBase: PORTS.powerManagement.base,
    pirqIsaIrqs: PIRQ_ISA_IRQS,
    isaLine: (irq) => wiring.picInput(irq),
  });
  wiring.connectPirqs((index) => lpc.pirq(index));
  root.add(0, 0, mch);
  root.add(0x1f, 0, lpc.pci);
  return {
    pci,
    devices: [pci, mch, lpc.pci],
    ports: [
      [PORTS.pciAddress, pci.addressPort, 'pci address'],
      [PORTS.pciData, pci.dataPort, 'pci data'],
    ],
    mmio: [[MMIO.ecam, pci.ecam, 'ECAM']],
  };
}

export function serialChips(
  options: { readonly serial: readonly (CharPort | undefined)[]; readonly clock: Clock },
  wiring: InterruptWiring,
): Chips {
  const { serial, clock } = options;
  const placed = SERIAL.flatMap(({ name, region, irq }, i) => {
    const port = serial[i];
    return port ? [{ region, uart: new Uart16550({ name, irq: wiring.isa(irq), port, clock }) }] : [];
  });
  const uarts = placed.map(({ uart }) => uart);
  return {
    devices: uarts,
    ports: placed.map(({ region, uart }) => [region, byteWide(uart), uart.name]),
    buffers: uarts,
  };
}

export function debugConsoleChips(port: CharPort | undefined, clock: Clock): Chips {
  if (!port) return { devices: [], ports: [] };
  const output = new OutputBuffer(port, clock);
  return {
    devices: [],
    ports: [
      [PORTS.debugConsole, debugConsole(output), 'debug console'],
      [PORTS.firmwareConsole, debugConsole(output), 'firmware console'],
    ],
    buffers: [output],
  };
}

/** Address line 20 passes while any of its drivers lets it (ICH9 datasheet, 5.13.1). */
function a20Gate(cpus: readonly CpuSignals[]): () => (enabled: boolean) => void {
  const drivers: boolean[] = [];
  return () => {
    const index = drivers.push(false) - 1;
    return (enabled) => {
      drivers[index] = enabled;
      for (const cpu of cpus) cpu.setA20(drivers.includes(true));
    };
  };
}
