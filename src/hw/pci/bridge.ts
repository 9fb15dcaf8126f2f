/** PCI-to-PCI bridges: a function with a type 1 header and the bus behind it. PCI-to-PCI Bridge Architecture 1.2. */
import type { IrqLine } from '../../contract/index.ts';
import { BridgeWindow } from './bridge-window.ts';
import { type ConfigRow, readLittleEndian } from './config-space.ts';
import { type PciCapability, PciFunction, type PciIdentity } from './function.ts';
import { PciSegment, type SecondaryBus } from './segment.ts';

const COMMAND = { offset: 0x04, io: 1, memory: 2 } as const;
const AT = {
  secondary: 0x19,
  subordinate: 0x1a,
  ioBase: 0x1c,
  ioLimit: 0x1d,
  memoryBase: 0x20,
  memoryLimit: 0x22,
  prefetchableBase: 0x24,
  prefetchableLimit: 0x26,
  prefetchableBaseHigh: 0x28,
  prefetchableLimitHigh: 0x2c,
  control: 0x3e,
} as const;
const CONTROL_WRITABLE = 0x005f;
const SECONDARY_RESET = 0x0040;
const STATUS_CLEARABLE = 0xf900;
/** The prefetchable window has 64 bits (3.2.5.9). */
const WIDE = 1;
const SUBSYSTEM_CAPABILITY = 0x0d;
const PINS = 4;

export interface BridgeOptions {
  readonly name: string;
  /** Device number on the bus above. */
  readonly slot: number;
  readonly identity: PciIdentity;
  readonly upstream: PciSegment;
  readonly capabilities?: readonly PciCapability[];
  /** Of the bus behind it; default 32. */
  readonly devices?: number;
  readonly intx?: IrqLine;
  readonly onConfigChange?: () => void;
  /** The guest resets what is behind the bridge. */
  readonly onSecondaryReset?: () => void;
}

export interface Bridge extends SecondaryBus {
  readonly pciFunction: PciFunction;
}

/** Makes the bridge; the caller puts it on the bus above. */
export function pciBridge(options: BridgeOptions): Bridge {
  const { upstream, slot } = options;
  const [mmio, ports] = [new BridgeWindow(upstream.mmio), new BridgeWindow(upstream.ports)];
  let wasReset = false;
  const pciFunction: PciFunction = new PciFunction({
    name: options.name,
    headerType: 1,
    identity: options.identity,
    capabilities: [...(options.capabilities ?? []), subsystemCapability(options.identity)],
    rows: ROWS,
    mmio: upstream.mmio,
    ports: upstream.ports,
    intx: options.intx,
    mayMaster: upstream.mayMaster,
    onConfigChange() {
      const { config } = pciFunction;
      const command = readLittleEndian(config, COMMAND.offset, 2);
      ports.open(command & COMMAND.io ? [ioWindow(config)] : []);
      mmio.open(command & COMMAND.memory ? [memoryWindow(config), prefetchableWindow(config)] : []);
      const isReset = (readLittleEndian(config, AT.control, 2) & SECONDARY_RESET) !== 0;
      if (isReset && !wasReset) options.onSecondaryReset?.();
      wasReset = isReset;
      options.onConfigChange?.();
    },
  });
  const segment = new PciSegment({
    mmio,
    ports,
    mayMaster: () => pciFunction.busMaster,
    interrupt: (device, pin) => upstream.interrupt(slot, (device + pin) % PINS), // table 9-1
    devices: options.devices,
  });
  return {
    pciFunction,
    segment,
    get secondary() {
      return pciFunction.config[AT.secondary];
    },
    get subordinate() {
      return pciFunction.config[AT.subordinate];
    },
  };
}

/** 3.2: the part of the type 1 header that the type 0 header has not. */
const ROWS: readonly ConfigRow[] = [
  { name: 'primary bus', offset: 0x18, width: 1, writable: 0xff },
  { name: 'secondary bus', offset: AT.secondary, width: 1, writable: 0xff },
  { name: 'subordinate bus', offset: AT.subordinate, width: 1, writable: 0xff },
  { name: 'secondary latency timer', offset: 0x1b, width: 1, writable: 0xf8 },
  { name: 'I/O base', offset: AT.ioBase, width: 1, writable: 0xf0 },
  { name: 'I/O limit', offset: AT.ioLimit, width: 1, writable: 0xf0 },
  { name: 'secondary status', offset: 0x1e, width: 2, clearable: STATUS_CLEARABLE },
  { name: 'memory base', offset: AT.memoryBase, width: 2, writable: 0xfff0 },
  { name: 'memory limit', offset: AT.memoryLimit, width: 2, writable: 0xfff0 },
  { name: 'prefetchable base', offset: AT.prefetchableBase, width: 2, initial: WIDE, writable: 0xfff0 },
  { name: 'prefetchable limit', offset: AT.prefetchableLimit, width: 2, initial: WIDE, writable: 0xfff0 },
  { name: 'prefetchable base, high', offset: AT.prefetchableBaseHigh, width: 4, writable: 0xffff_ffff },
  { name: 'prefetchable limit, high', offset: AT.prefetchableLimitHigh, width: 4, writable: 0xffff_ffff },
  { name: 'bridge control', offset: AT.control, width: 2, writable: CONTROL_WRITABLE },
];

/** 4 KiB pieces of 16-bit ports (3.2.5.6). */
function ioWindow(config: Uint8Array) {
  return { base: (config[AT.ioBase] & 0xf0) << 8, end: ((config[AT.ioLimit] & 0xf0) << 8) + 0x1000 };
}

/** 1 MiB pieces (3.2.5.8). */
function memoryWindow(config: Uint8Array) {
  return { base: mebibytes(config, AT.memoryBase), end: mebibytes(config, AT.memoryLimit) + 0x10_0000 };
}

function prefetchableWindow(config: Uint8Array) {
  const high = (at: number) => readLittleEndian(config, at, 4) * 2 ** 32;
  return {
    base: high(AT.prefetchableBaseHigh) + mebibytes(config, AT.prefetchableBase),
    end: high(AT.prefetchableLimitHigh) + mebibytes(config, AT.prefetchableLimit) + 0x10_0000,
  };
}

function mebibytes(config: Uint8Array, at: number): number {
  return (readLittleEndian(config, at, 2) & 0xfff0) * 0x1_0000;
}

/** Who built it: a type 1 header has no place for that (3.2.5.13 and the SSID capability). */
function subsystemCapability({ subsystemVendorId = 0, subsystemId = 0 }: PciIdentity): PciCapability {
  const body = new DataView(new ArrayBuffer(6));
  body.setUint16(2, subsystemVendorId, true);
  body.setUint16(4, subsystemId, true);
  return { id: SUBSYSTEM_CAPABILITY, body: new Uint8Array(body.buffer) };
}

const IDENTITY = { vendorId: 0x1b36, subsystemVendorId: 0x1af4, subsystemId: 0x1100, classCode: 0x06_04_00 } as const;

/** A conventional bridge, by the identity of QEMU's pci-bridge. */
export function conventionalBridge(options: Omit<BridgeOptions, 'identity' | 'capabilities' | 'devices'>): Bridge {
  return pciBridge({ ...options, identity: { ...IDENTITY, deviceId: 0x0001, revision: 0 } });
}

export { IDENTITY as BRIDGE_IDENTITY };
