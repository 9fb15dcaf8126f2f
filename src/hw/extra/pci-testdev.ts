/**
 * A device by which tests measure accesses to devices (QEMU, docs/specs/pci-testdev.rst): each test is a header in a
 * BAR, of which `count` goes up with every access that is as the header says.
 */
import { bytes, int, type StateOf, stateTable } from '../../base/index.ts';
import type { Bus, BusDevice, Device, DeviceRecord } from '../../contract/index.ts';
import { PciFunction } from '../pci/index.ts';

const IDENTITY = { vendorId: 0x1b36, deviceId: 0x0005, revision: 0, classCode: 0x00_ff_00 } as const;
const TESTS = ['no-eventfd', 'wildcard-eventfd', 'datamatch-eventfd'] as const;
/** struct pci_testdev_hdr. */
const HEADER = { test: 0, width: 1, offset: 4, data: 8, count: 12, name: 16, bytes: 48 } as const;
const DATA = 0xfa;
/** Where the access of a test goes, past the headers. */
const ACCESS_OFFSET = 0x80;
const NONE = 255;

const STATE = stateTable({ current: int(0, NONE, NONE), header: bytes(HEADER.bytes) });

export interface PciTestdevOptions {
  readonly name: string;
  readonly mmio: Bus;
  readonly ports: Bus;
}

export interface PciTestdev {
  readonly pciFunction: PciFunction;
  readonly parts: readonly Device[];
}

export function pciTestdev({ name, mmio, ports }: PciTestdevOptions): PciTestdev {
  const memory = new TestWindow(`${name}.memory`);
  const io = new TestWindow(`${name}.io`);
  const pciFunction = new PciFunction({
    name,
    identity: IDENTITY,
    bars: [
      { index: 0, size: 0x1000, kind: 'memory32', device: memory.registers },
      { index: 1, size: 0x100, kind: 'io', device: io.registers },
    ],
    mmio,
    ports,
  });
  return { pciFunction, parts: [memory, io] };
}

class TestWindow implements Device {
  readonly name: string;
  readonly registers: BusDevice;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor(name: string) {
    this.name = name;
    this.registers = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
  }

  reset(): void {
    this.#state = STATE.initial();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
  }

  #read(offset: number, size: number): number {
    let value = 0;
    for (let i = 0; i < size; i += 1) value |= (this.#state.header[offset + i] ?? 0) << (i * 8);
    return value >>> 0;
  }

  #write(offset: number, size: number, value: number): void {
    if (offset === HEADER.test && size === 1) {
      this.#choose(value);
      return;
    }
    const test = TESTS[this.#state.current];
    if (test === undefined || offset !== ACCESS_OFFSET) return;
    if (test === 'datamatch-eventfd' && (size !== 1 || value !== DATA)) return;
    const view = this.#view();
    view.setUint32(HEADER.count, view.getUint32(HEADER.count, true) + 1, true);
  }

  #choose(test: number): void {
    const header = this.#state.header.fill(0);
    this.#state.current = test < TESTS.length ? test : NONE;
    if (test >= TESTS.length) return;
    header[HEADER.test] = test;
    header[HEADER.width] = 1;
    const view = this.#view();
    view.setUint32(HEADER.offset, ACCESS_OFFSET, true);
    view.setUint32(HEADER.data, DATA, true);
    header.set(
      Array.from(TESTS[test], (character) => character.charCodeAt(0)),
      HEADER.name,
    );
  }

  #view(): DataView {
    const { header } = this.#state;
    return new DataView(header.buffer, header.byteOffset, header.length);
  }
}
