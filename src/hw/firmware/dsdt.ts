/** The DSDT: the devices of the board that a guest cannot find by itself, as AML (ACPI 6.4, chapters 5 and 6). */

import type { Region } from '../board/memory-map.ts';
import { ACPI, IRQ, MMIO, PCI_WINDOW_64, PIRQ_ISA_IRQS, PORTS, pciIntxGsi } from '../board/memory-map.ts';
import type { AcpiOptions } from './acpi.ts';
import type { Aml } from './aml.ts';
import {
  and,
  arg,
  createDwordField,
  device,
  eisaId,
  equal,
  ifThen,
  integer,
  ioFields,
  local,
  method,
  name,
  nameString,
  notEqual,
  notify,
  or,
  otherwise,
  packageOf,
  resource,
  resources,
  returnValue,
  scope,
  serializedMethod,
  store,
  string,
  uuid,
} from './aml.ts';

/** Present, enabled, shown, working (_STA, ACPI 6.4, 6.3.7). */
const STATUS_PRESENT = 0x0f;
/** The same, but not for people to see. */
const STATUS_HIDDEN = 0x0b;
const LPC_BRIDGE_ADDRESS = 0x001f_0000;

/** The AML of the DSDT, without its table header. */
export function dsdtAml(
  options: Pick<AcpiOptions, 'cpuCount' | 'keyboardController' | 'pciHotplug' | 'panicPort'>,
): Aml {
  return [
    // The guest says here whether it uses the 8259s (0) or the IOAPIC (1).
    ...name('\\PICF', integer(0)),
    ...method('\\_PIC', 1, store(arg(0), nameString('\\PICF'))),
    ...name('\\_S5', packageOf(integer(ACPI.sleepTypeS5), integer(0), integer(0), integer(0))),
    ...scope('\\_SB', processors(options.cpuCount), motherboard(options.pciHotplug === true), pciRoot(options)),
    ...(options.pciHotplug ? hotplugEvent() : []),
  ];
}

/** Processor devices; _UID matches the MADT's. */
function processors(count: number): Aml {
  return Array.from({ length: count }, (_, index) =>
    device(
      `C${index.toString(16).toUpperCase().padStart(3, '0')}`,
      name('_HID', string('ACPI0007')),
      name('_UID', integer(index)),
    ),
  ).flat();
}

/** Ranges that no PCI device may be given. */
function motherboard(hasHotplug: boolean): Aml {
  return device(
    'MRES',
    name('_HID', eisaId('PNP0C02')),
    name(
      '_CRS',
      resources(
        resource.memory32Fixed(MMIO.ecam.base, MMIO.ecam.size),
        resource.io(PORTS.powerManagement.base, PORTS.powerManagement.size),
        ...(hasHotplug ? [resource.io(PORTS.pciHotplug.base, PORTS.pciHotplug.size)] : []),
      ),
    ),
  );
}

/** fw_cfg, as QEMU's guests look for it (QEMU docs/specs/fw_cfg). */
function firmwareConfiguration(): Aml {
  return device(
    'FWCF',
    name('_HID', string('QEMU0002')),
    name('_STA', integer(STATUS_HIDDEN)),
    name('_CRS', resources(resource.io(PORTS.fwCfg.base, PORTS.fwCfg.size))),
  );
}

function pciRoot({ keyboardController, pciHotplug = false, panicPort = false }: Parameters<typeof dsdtAml>[0]): Aml {
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A08')),
    name('_CID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name('_CRS', pciWindows()),
    pciFeatures(),
    name(
      'PRTP',
      routing((gsi) => PIRQ_ISA_IRQS[gsi & 3]),
    ),
    name(
      'PRTA',
      routing((gsi) => gsi),
    ),
    method('_PRT', 0, ifThen(nameString('\\PICF'), returnValue(nameString('PRTA'))), returnValue(nameString('PRTP'))),
    firmwareConfiguration(),
    ...(pciHotplug ? hotplugSlots() : []),
    device(
      'ISA',
      name('_ADR', integer(LPC_BRIDGE_ADDRESS)),
      ...isaDevices(keyboardController),
      ...(panicPort ? [panicDevice()] : []),
    ),
  );
}

/** The port by which a guest says that it panicked (QEMU docs/specs/pvpanic). */
function panicDevice(): Aml {
  return device(
    'PEVT',
    name('_HID', string('QEMU0001')),
    name('_STA', integer(STATUS_PRESENT)),
    name('_CRS', resources(resource.io(PORTS.panic.base, PORTS.panic.size))),
  );
}

/** Slots of the root bus that devices can be plugged into; the chipset has 0 and 31. */
const HOTPLUG_SLOTS = Array.from({ length: 30 }, (_, index) => index + 1);

function slotName(slot: number): string {
  return `S${(slot * 8).toString(16).toUpperCase().padStart(2, '0')}`;
}

/** The registers of AcpiHotplug, and a device a slot that the guest can eject (ACPI 6.4, 6.3.3). */
function hotplugSlots(): Aml[] {
  const slots = HOTPLUG_SLOTS.map((slot) =>
    device(
      slotName(slot),
      name('_ADR', integer(slot * 0x1_0000)),
      name('_SUN', integer(slot)),
      method('_EJ0', 1, store(integer(2 ** slot), nameString('\\_SB.PCI0.PCEJ'))),
    ),
  );
  return [ioFields('PCST', PORTS.pciHotplug.base, 'PCUP', 'PCDN', 'PCEJ'), ...slots];
}

/** General-purpose event 1: some slot has a new device (Notify 1), or is to let one go (3). */
function hotplugEvent(): Aml {
  const tell = (register: number, value: number) =>
    HOTPLUG_SLOTS.flatMap((slot) =>
      ifThen(and(local(register), integer(2 ** slot)), notify(`\\_SB.PCI0.${slotName(slot)}`, value)),
    );
  return scope(
    '\\_GPE',
    method(
      '_E01',
      0,
      store(nameString('\\_SB.PCI0.PCUP'), local(0)),
      store(nameString('\\_SB.PCI0.PCDN'), local(1)),
      tell(0, 1),
      tell(1, 3),
    ),
  );
}

/**
 * _OSC (PCI Firmware 3.3, 4.5): the guest asks for the features of PCI Express that it wants to run by itself, and gets
 * hot plug, power events and error reporting; there is no firmware that would.
 */
function pciFeatures(): Aml {
  const [status, control] = [nameString('CDW1'), nameString('CDW3')];
  return serializedMethod(
    '_OSC',
    4,
    createDwordField(arg(3), 0, 'CDW1'),
    ifThen(
      equal(arg(0), uuid(OSC.uuid)),
      createDwordField(arg(3), 8, 'CDW3'),
      and(control, integer(OSC.granted), local(0)),
      ifThen(notEqual(local(0), control), or(status, integer(OSC.masked), status)),
      store(local(0), control),
      ifThen(notEqual(arg(1), integer(1)), or(status, integer(OSC.unknownRevision), status)),
    ),
    otherwise(or(status, integer(OSC.unknownUuid), status)),
    returnValue(arg(3)),
  );
}

/** Native hot plug, power management events, error reporting, and the PCI Express capability itself. */
const OSC = {
  uuid: '33DB4D5B-1FF7-401C-9657-7441C03DD766',
  granted: 0x1d,
  unknownUuid: 0x04,
  unknownRevision: 0x08,
  masked: 0x10,
} as const;

function pciWindows(): Aml {
  const { pciAddress, pciData } = PORTS;
  const configurationEnd = pciData.base + pciData.size;
  const { legacyHole, pciWindow } = MMIO;
  return resources(
    resource.busNumbers(0, 0xff),
    resource.io(pciAddress.base, configurationEnd - pciAddress.base),
    resource.ioWindow(0, pciAddress.base - 1),
    resource.ioWindow(configurationEnd, 0xffff),
    // Of the legacy hole only the video memory; ROMs and our tables lie above.
    resource.memoryWindow32(legacyHole.base, legacyHole.base + 0x2_0000 - 1),
    resource.memoryWindow32(pciWindow.base, last(pciWindow)),
    resource.memoryWindow64(PCI_WINDOW_64.base, last(PCI_WINDOW_64)),
  );
}

/** One _PRT (ACPI 6.4, 6.2.13): every pin of every device of bus 0, hard-wired. */
function routing(interruptOf: (gsi: number) => number): Aml {
  const rows: Aml[] = [];
  for (let number = 0; number < 32; number++) {
    for (let pin = 0; pin < 4; pin++) {
      const anyFunction = number * 0x1_0000 + 0xffff;
      const line = interruptOf(pciIntxGsi(number, pin));
      rows.push(packageOf(integer(anyFunction), integer(pin), integer(0), integer(line)));
    }
  }
  return packageOf(...rows);
}

function isaDevices(keyboardController: boolean): Aml[] {
  const devices = [
    plugAndPlay('RTC', 'PNP0B00', [PORTS.rtc], IRQ.rtc),
    plugAndPlay('COM1', 'PNP0501', [PORTS.com1], IRQ.com1, 1),
    plugAndPlay('COM2', 'PNP0501', [PORTS.com2], IRQ.com2, 2),
    plugAndPlay('COM3', 'PNP0501', [PORTS.com3], IRQ.com3, 3),
    plugAndPlay('COM4', 'PNP0501', [PORTS.com4], IRQ.com4, 4),
  ];
  if (!keyboardController) return devices;
  return [
    ...devices,
    plugAndPlay('KBD', 'PNP0303', [PORTS.keyboardData, PORTS.keyboardCommand], IRQ.keyboard),
    plugAndPlay('MOU', 'PNP0F13', [], IRQ.mouse),
  ];
}

function plugAndPlay(path: string, id: string, ports: readonly Region[], irq: number, uid?: number): Aml {
  return device(
    path,
    name('_HID', eisaId(id)),
    ...(uid === undefined ? [] : [name('_UID', integer(uid))]),
    name('_STA', integer(STATUS_PRESENT)),
    name('_CRS', resources(...ports.map(({ base, size }) => resource.io(base, size)), resource.irq(irq))),
  );
}

function last(region: Region): number {
  return region.base + region.size - 1;
}
