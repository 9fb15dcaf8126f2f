/**
 * One PCI function: PCI Local Bus 3.0, chapter 6. It
 * keeps the configuration space, places its BARs on the buses as the guest
 * moves them, and drives its INTx pin. Devices add BARs, capabilities and rows.
 */

import type { StateTable } from '../../base/index.ts';
import { bool, bytes, InternalError, stateTable } from '../../base/index.ts';
import type { AccessSize, Bus, BusDevice, Device, DeviceRecord, IrqLine, Mapping } from '../../contract/index.ts';
import type { ConfigLayout, ConfigRow } from './config-space.ts';
import { CONFIG_BYTES, configLayout, readLittleEndian } from './config-space.ts';

const COMMAND = { io: 0x0001, memory: 0x0002, busMaster: 0x0004, interruptDisable: 0x0400 };
const COMMAND_WRITABLE = 0x0547;
const STATUS = { interrupt: 0x0008, capabilities: 0x0010 };
const STATUS_CLEARABLE = 0xf900;
const OFFSET = { command: 0x04, status: 0x06, bars: 0x10, interruptLine: 0x3c };
const FIRST_CAPABILITY = 0x40;
const BAR_COUNT = 6;

export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Base class, subclass and programming interface, 24 bits. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 1 to 4 for INTA# to INTD#; none without. */
  readonly interruptPin?: number;
  /** Says that the device number has more functions. */
  readonly multifunction?: boolean;
}

/** A window that the guest places; a 64-bit one takes the next index too. */
export interface PciBar {
  readonly index: number;
  /** In bytes, a power of two; at least 16 (memory) or 4 (I/O). */
  readonly size: number;
  readonly kind: 'io' | 'memory32' | 'memory64';
  readonly prefetchable?: boolean;
  readonly device: BusDevice;
}

/** A capability's bytes after its id and link. */
export interface PciCapability {
  readonly id: number;
  readonly body: Uint8Array;
  /** Writable bits of `body`; none without. */
  readonly writable?: Uint8Array;
  /** Bits of `body` that a written 1 clears; none without. */
  readonly clearable?: Uint8Array;
}

export interface PciFunctionOptions {
  readonly name: string;
  readonly identity: PciIdentity;
  /** 1: a bridge, whose own rows stand where others have BARs and a subsystem; default 0. */
  readonly headerType?: 0 | 1;
  readonly bars?: readonly PciBar[];
  readonly capabilities?: readonly PciCapability[];
  /** Device-specific registers, from 40h. */
  readonly rows?: readonly ConfigRow[];
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly intx?: IrqLine;
  /** Do the bridges above pass this function's accesses to memory on? Default: there are none. */
  readonly mayMaster?: () => boolean;
  /** Called after the configuration space may have changed: by the guest, a reset or a restore. */
  readonly onConfigChange?: () => void;
  /** Sees the guest's accesses first; an answer other than undefined (read) or false (write) is all there is to it. */
  readonly intercept?: {
    read(offset: number, size: AccessSize): number | undefined;
    write(offset: number, size: AccessSize, value: number): boolean;
  };
}

interface PlacedBar {
  readonly bar: PciBar;
  base: number | undefined;
  mapping: Mapping | undefined;
}

export class PciFunction implements Device {
  readonly name: string;
  readonly #options: PciFunctionOptions;
  readonly #layout: ConfigLayout;
  readonly #table: StateTable<{ config: Uint8Array; interrupt: boolean }>;
  readonly #bars: readonly PlacedBar[];
  #state: { config: Uint8Array; interrupt: boolean };

  constructor(options: PciFunctionOptions) {
    this.name = options.name;
    this.#options = options;
    this.#layout = configLayout([
      ...headerRows(options),
      ...(options.bars ?? []).flatMap(barRows),
      ...capabilityRows(options.capabilities ?? []),
      ...(options.rows ?? []),
    ]);
    this.#table = stateTable({ config: bytes(CONFIG_BYTES, this.#layout.initial), interrupt: bool() });
    this.#state = this.#table.initial();
    this.#bars = (options.bars ?? []).map((bar) => ({ bar, base: undefined, mapping: undefined }));
  }

  reset(): void {
    this.#state = this.#table.initial();
    this.#update();
    this.#options.onConfigChange?.();
  }

  snapshot(): DeviceRecord {
    return this.#table.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = this.#table.load(record);
    this.#update();
    this.#options.onConfigChange?.();
  }

  /** The configuration space as it stands, for the device that owns the function. */
  get config(): Uint8Array {
    return this.#state.config;
  }

  /** May the device read and write guest memory? */
  get busMaster(): boolean {
    return (this.#command() & COMMAND.busMaster) !== 0 && (this.#options.mayMaster?.() ?? true);
  }

  /** Where the capability of that number in the options lies in the configuration space. */
  capabilityOffset(index: number): number {
    return capabilityOffsets(this.#options.capabilities ?? [])[index];
  }

  /** Offsets past the 256 bytes read as ones: there is no extended space. */
  readConfig(offset: number, size: AccessSize): number {
    return this.#options.intercept?.read(offset, size) ?? readLittleEndian(this.#state.config, offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    if (this.#options.intercept?.write(offset, size, value)) return;
    const { config } = this.#state;
    const { writable, clearable } = this.#layout;
    for (let i = 0; i < size && offset + i < CONFIG_BYTES; i++) {
      const at = offset + i;
      const byte = (value >>> (i * 8)) & 0xff;
      config[at] = ((config[at] & ~writable[at]) | (byte & writable[at])) & ~(byte & clearable[at]);
    }
    this.#update();
    this.#options.onConfigChange?.();
  }

  /** Drives the INTx pin, unless the guest has disabled it. */
  setInterrupt(level: boolean): void {
    this.#state.interrupt = level;
    this.#update();
  }

  #command(): number {
    return readLittleEndian(this.#state.config, OFFSET.command, 2);
  }

  #update(): void {
    const { config, interrupt } = this.#state;
    config[OFFSET.status] = (config[OFFSET.status] & ~STATUS.interrupt) | (interrupt ? STATUS.interrupt : 0);
    this.#options.intx?.set(interrupt && !(this.#command() & COMMAND.interruptDisable));
    for (const placed of this.#bars) this.#place(placed);
  }

  /** Puts a BAR where the registers say. One that collides with something else, or lies nowhere, is not mapped. */
  #place(placed: PlacedBar): void {
    const base = this.#wantedBase(placed.bar);
    if (base === placed.base) return;
    placed.mapping?.unmap();
    placed.mapping = undefined;
    placed.base = base;
    if (base === undefined) return;
    const { bar } = placed;
    const bus = bar.kind === 'io' ? this.#options.ports : this.#options.mmio;
    try {
      placed.mapping = bus.map(base, bar.size, bar.device, `${this.name} BAR ${bar.index}`);
    } catch (error) {
      if (!(error instanceof InternalError)) throw error;
    }
  }

  #wantedBase(bar: PciBar): number | undefined {
    const decodes = this.#command() & (bar.kind === 'io' ? COMMAND.io : COMMAND.memory);
    if (!decodes) return undefined;
    const offset = OFFSET.bars + bar.index * 4;
    const low = readLittleEndian(this.#state.config, offset, 4);
    if (bar.kind === 'io') return (low & ~3) >>> 0;
    const high = bar.kind === 'memory64' ? readLittleEndian(this.#state.config, offset + 4, 4) : 0;
    return high * 2 ** 32 + ((low & ~0xf) >>> 0);
  }
}

function headerRows({ identity, capabilities = [], headerType = 0 }: PciFunctionOptions): ConfigRow[] {
  const subsystem: ConfigRow[] = [
    { name: 'subsystem vendor id', offset: 0x2c, width: 2, initial: identity.subsystemVendorId ?? 0 },
    { name: 'subsystem id', offset: 0x2e, width: 2, initial: identity.subsystemId ?? 0 },
  ];
  const status = capabilities.length > 0 ? STATUS.capabilities : 0;
  return [
    { name: 'vendor id', offset: 0x00, width: 2, initial: identity.vendorId },
    { name: 'device id', offset: 0x02, width: 2, initial: identity.deviceId },
    { name: 'command', offset: OFFSET.command, width: 2, writable: COMMAND_WRITABLE },
    { name: 'status', offset: OFFSET.status, width: 2, initial: status, clearable: STATUS_CLEARABLE },
    { name: 'revision', offset: 0x08, width: 1, initial: identity.revision },
    { name: 'class code', offset: 0x09, width: 3, initial: identity.classCode },
    { name: 'cache line size', offset: 0x0c, width: 1, writable: 0xff },
    { name: 'latency timer', offset: 0x0d, width: 1, writable: 0xff },
    { name: 'header type', offset: 0x0e, width: 1, initial: headerType | (identity.multifunction ? 0x80 : 0) },
    ...(headerType === 0 ? subsystem : []),
    { name: 'capabilities', offset: 0x34, width: 1, initial: capabilities.length > 0 ? FIRST_CAPABILITY : 0 },
    { name: 'interrupt line', offset: OFFSET.interruptLine, width: 1, writable: 0xff },
    { name: 'interrupt pin', offset: 0x3d, width: 1, initial: identity.interruptPin ?? 0 },
  ];
}

/** 6.2.5.1: the address bits below the size are read-only zeros, which is how the guest learns the size. */
function barRows(bar: PciBar): ConfigRow[] {
  const words = bar.kind === 'memory64' ? 2 : 1;
  const smallest = bar.kind === 'io' ? 4 : 16;
  if (bar.size < smallest || Math.log2(bar.size) % 1 !== 0 || bar.index + words > BAR_COUNT) {
    throw new InternalError(`PCI BAR ${bar.index} of ${bar.size} bytes`);
  }
  const type = { io: 0x1, memory32: 0x0, memory64: 0x4 }[bar.kind] | (bar.prefetchable ? 0x8 : 0);
  const lowSize = Math.min(bar.size, 2 ** 32);
  const highSize = Math.max(1, bar.size / 2 ** 32);
  const offset = OFFSET.bars + bar.index * 4;
  const low: ConfigRow = {
    name: `BAR ${bar.index}`,
    offset,
    width: 4,
    initial: type,
    writable: (2 ** 32 - lowSize) >>> 0,
  };
  if (words === 1) return [low];
  return [low, { name: `BAR ${bar.index}, high`, offset: offset + 4, width: 4, writable: (2 ** 32 - highSize) >>> 0 }];
}

/** Capabilities one after another from 40h, each at a multiple of 4, linked in order. */
function capabilityOffsets(capabilities: readonly PciCapability[]): number[] {
  let offset = FIRST_CAPABILITY;
  return capabilities.map(({ body }) => {
    const at = offset;
    offset = (at + 2 + body.length + 3) & ~3;
    return at;
  });
}

function capabilityRows(capabilities: readonly PciCapability[]): ConfigRow[] {
  const offsets = capabilityOffsets(capabilities);
  return capabilities.flatMap(({ id, body, writable, clearable }, i) => {
    const offset = offsets[i];
    const link = offsets[i + 1] ?? 0;
    const bytes = Array.from(body, (initial, j): ConfigRow => {
      const access = { writable: writable?.[j], clearable: clearable?.[j] };
      return { name: `capability ${i} byte ${j}`, offset: offset + 2 + j, width: 1, initial, ...access };
    });
    return [{ name: `capability ${i}`, offset, width: 2, initial: id | (link << 8) }, ...bytes];
  });
}
