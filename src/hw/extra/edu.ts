/** A device to learn drivers with (QEMU, docs/specs/edu.rst): a factorial, an interrupt, DMA. */
import { bool, bytes, int, type StateOf, stateTable, u32 } from '../../base/index.ts';
import type { Bus, BusDevice, Clock, Device, DeviceRecord, GuestMemory, IrqLine, Timer } from '../../contract/index.ts';
import { registerWindow } from '../bus/index.ts';
import { PciFunction } from '../pci/index.ts';

const IDENTITY = {
  vendorId: 0x1234,
  deviceId: 0x11e8,
  revision: 0x10,
  classCode: 0x00_ff_00,
  interruptPin: 1,
} as const;
const BAR_BYTES = 0x10_0000;
const IDENTIFICATION = 0x0100_00ed;
const STATUS = { computing: 0x01, interrupts: 0x80 } as const;
const INTERRUPT = { factorial: 0x001, dma: 0x100 } as const;
const DMA = { run: 0x1, toMemory: 0x2, interrupts: 0x4 } as const;
const DMA_BITS = 0x7;
/** The device's own memory, as DMA addresses it. */
const BUFFER = { base: 0x4_0000, size: 4096 } as const;
/** Both take a while, so that drivers learn to wait. */
const COMPUTING_NANOS = 1_000_000;
const DMA_NANOS = 100_000_000;
/** As QEMU's device: 28 bits of address. */
const DMA_MASK = 2 ** 28 - 1;

const STATE = stateTable({
  inverted: u32(),
  factorial: u32(),
  status: u32(),
  interrupts: u32(),
  isComputing: bool(),
  computedAtNanos: int(0, Number.MAX_SAFE_INTEGER, 0),
  dmaSource: u32(),
  dmaSourceHigh: u32(),
  dmaTarget: u32(),
  dmaTargetHigh: u32(),
  dmaCount: u32(),
  dmaCountHigh: u32(),
  dmaCommand: u32(),
  dmaAtNanos: int(0, Number.MAX_SAFE_INTEGER, 0),
  buffer: bytes(BUFFER.size),
});

export interface EduOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly intx: IrqLine;
  /** May functions on its bus reach memory? */
  readonly mayMaster: () => boolean;
}

export interface Edu {
  readonly pciFunction: PciFunction;
  /** What has state beside the function. */
  readonly core: Device;
}

export function edu({ name, clock, memory, mmio, ports, intx, mayMaster }: EduOptions): Edu {
  const core = new EduCore(`${name}.core`, clock, memory, {
    interrupt: (level) => pciFunction.setInterrupt(level),
    mayAccessMemory: () => pciFunction.busMaster && mayMaster(),
  });
  const pciFunction: PciFunction = new PciFunction({
    name,
    identity: IDENTITY,
    bars: [{ index: 0, size: BAR_BYTES, kind: 'memory32', device: core.registers }],
    mmio,
    ports,
    intx,
  });
  return { pciFunction, core };
}

interface EduPort {
  interrupt(level: boolean): void;
  mayAccessMemory(): boolean;
}

class EduCore implements Device {
  readonly name: string;
  readonly registers: BusDevice;
  readonly #clock: Clock;
  readonly #memory: GuestMemory;
  readonly #port: EduPort;
  readonly #computing: Timer;
  readonly #copying: Timer;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor(name: string, clock: Clock, memory: GuestMemory, port: EduPort) {
    this.name = name;
    this.#clock = clock;
    this.#memory = memory;
    this.#port = port;
    this.#computing = clock.createTimer(() => this.#computed());
    this.#copying = clock.createTimer(() => this.#copied());
    this.registers = this.#rows();
  }

  reset(): void {
    this.#computing.cancel();
    this.#copying.cancel();
    this.#state = STATE.initial();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    const { isComputing, computedAtNanos, dmaCommand, dmaAtNanos } = this.#state;
    if (isComputing) this.#computing.arm(computedAtNanos);
    if (dmaCommand & DMA.run) this.#copying.arm(dmaAtNanos);
    this.#update();
  }

  #rows(): BusDevice {
    const state = () => this.#state;
    type Field = 'dmaSource' | 'dmaSourceHigh' | 'dmaTarget' | 'dmaTargetHigh' | 'dmaCount' | 'dmaCountHigh';
    const dma = (name: Field, offset: number) => ({
      name,
      offset,
      width: 4 as const,
      read: () => state()[name],
      write: (value: number) => {
        if (!(state().dmaCommand & DMA.run)) state()[name] = value >>> 0;
      },
    });
    return registerWindow(0x100, [
      { name: 'identification', offset: 0x00, width: 4, read: () => IDENTIFICATION },
      {
        name: 'liveness',
        offset: 0x04,
        width: 4,
        read: () => state().inverted,
        write: (value) => (state().inverted = ~value >>> 0),
      },
      {
        name: 'factorial',
        offset: 0x08,
        width: 4,
        read: () => state().factorial,
        write: (value) => this.#compute(value),
      },
      {
        name: 'status',
        offset: 0x20,
        width: 4,
        read: () => state().status | (state().isComputing ? STATUS.computing : 0),
        write: (value) => (state().status = value & STATUS.interrupts),
      },
      { name: 'interrupt status', offset: 0x24, width: 4, read: () => state().interrupts },
      { name: 'raise', offset: 0x60, width: 4, write: (value) => this.#raise(value) },
      {
        name: 'acknowledge',
        offset: 0x64,
        width: 4,
        write: (value) => {
          state().interrupts = (state().interrupts & ~value) >>> 0;
          this.#update();
        },
      },
      dma('dmaSource', 0x80),
      dma('dmaSourceHigh', 0x84),
      dma('dmaTarget', 0x88),
      dma('dmaTargetHigh', 0x8c),
      dma('dmaCount', 0x90),
      dma('dmaCountHigh', 0x94),
      {
        name: 'dma command',
        offset: 0x98,
        width: 4,
        read: () => state().dmaCommand,
        write: (value) => this.#copy(value & DMA_BITS),
      },
    ]);
  }

  #compute(value: number): void {
    const s = this.#state;
    if (s.isComputing) return;
    s.factorial = value >>> 0;
    s.isComputing = true;
    s.computedAtNanos = Math.floor(this.#clock.nowNanos() + COMPUTING_NANOS);
    this.#computing.arm(s.computedAtNanos);
  }

  #computed(): void {
    const s = this.#state;
    let result = 1;
    // From 34 on, a factorial has 32 zeros at its end.
    for (let i = 2; i <= Math.min(s.factorial, 34); i += 1) result = Math.imul(result, i);
    s.factorial = s.factorial > 34 ? 0 : result >>> 0;
    s.isComputing = false;
    if (s.status & STATUS.interrupts) this.#raise(INTERRUPT.factorial);
  }

  #copy(command: number): void {
    const s = this.#state;
    if (s.dmaCommand & DMA.run) return;
    s.dmaCommand = command;
    if (!(command & DMA.run)) return;
    s.dmaAtNanos = Math.floor(this.#clock.nowNanos() + DMA_NANOS);
    this.#copying.arm(s.dmaAtNanos);
  }

  /** What lies outside the device's memory or the guest's is not copied. */
  #copied(): void {
    const s = this.#state;
    const toMemory = (s.dmaCommand & DMA.toMemory) !== 0;
    const [inside, outside] = toMemory ? [s.dmaSource, s.dmaTarget] : [s.dmaTarget, s.dmaSource];
    const at = inside - BUFFER.base;
    const length = s.dmaCount;
    const fits = at >= 0 && length <= BUFFER.size && at + length <= BUFFER.size && s.dmaCountHigh === 0;
    const address = outside & DMA_MASK;
    const view = fits && this.#port.mayAccessMemory() ? this.#memory.view(address, length) : undefined;
    if (view !== undefined) {
      const own = s.buffer.subarray(at, at + length);
      if (toMemory) {
        view.set(own);
        this.#memory.written(address, length);
      } else own.set(view);
    }
    s.dmaCommand &= ~DMA.run;
    if (s.dmaCommand & DMA.interrupts) this.#raise(INTERRUPT.dma);
  }

  #raise(bits: number): void {
    this.#state.interrupts = (this.#state.interrupts | bits) >>> 0;
    this.#update();
  }

  #update(): void {
    this.#port.interrupt(this.#state.interrupts !== 0);
  }
}
