/**
 * The 16550A UART: National Semiconductor PC16550D datasheet, section 8
 * (registers) and 8.6 (interrupts). There is no baud rate: a byte leaves at
 * once, and the divisor is only remembered. OUT2 gates the interrupt pin, as
 * PC boards wire it.
 */

import type { StateOf } from '../../base/index.ts';
import { bool, int, list, nanos, optional, stateTable, u8, u16 } from '../../base/index.ts';
import type { CharPort, CharReceiver, Clock, Device, DeviceRecord, IrqLine, Timer } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';
import { OutputBuffer } from './output-buffer.ts';

const FIFO_BYTES = 16;
/** Four characters of ten bits at 115,200 baud (8.4: the FIFO timeout interrupt). */
const RX_TIMEOUT_NANOS = 347_222;

const IER = { receivedData: 1, transmitterEmpty: 2, lineStatus: 4, modemStatus: 8 };
const IIR = {
  modemStatus: 0x00,
  none: 0x01,
  transmitterEmpty: 0x02,
  receivedData: 0x04,
  lineStatus: 0x06,
  timeout: 0x0c,
};
const IIR_FIFOS_ENABLED = 0xc0;
const FCR = { enable: 0x01, clearReceiver: 0x02 };
const FCR_STORED = 0xc1;
const TRIGGER_BYTES = [1, 4, 8, 14];
const LCR_DLAB = 0x80;
const MCR = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10 };
const LSR = { dataReady: 0x01, overrun: 0x02, transmitterIdle: 0x60 };
const MSR = { cts: 0x10, dsr: 0x20, ring: 0x40, carrier: 0x80 };
const MSR_DELTA = 0x0f;

const STATE = stateTable({
  interruptEnable: int(0, 0x0f, 0),
  fifoControl: u8(),
  lineControl: u8(),
  modemControl: int(0, 0x1f, 0),
  /** The four "has changed" bits of MSR; the line levels follow from MCR. */
  modemDelta: int(0, MSR_DELTA, 0),
  scratch: u8(),
  divisor: u16(12),
  received: list(FIFO_BYTES, u8()),
  overrun: bool(),
  transmitterEmptyPending: bool(),
  timeoutPending: bool(),
  timeoutDeadlineNanos: optional(nanos()),
});

export class Uart16550 implements Device, ByteRegisters, CharReceiver {
  readonly name: string;
  readonly #irq: IrqLine;
  readonly #clock: Clock;
  readonly #timeout: Timer;
  readonly #output: OutputBuffer;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor(options: { name: string; irq: IrqLine; port: CharPort; clock: Clock }) {
    this.name = options.name;
    this.#irq = options.irq;
    this.#clock = options.clock;
    this.#timeout = options.clock.createTimer(() => this.#receiveTimeout());
    this.#output = new OutputBuffer(options.port, options.clock);
    options.port.connect(this);
  }

  reset(): void {
    this.flush();
    this.#state = STATE.initial();
    this.#update();
  }

  snapshot(): DeviceRecord {
    this.flush();
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    this.#update();
  }

  /** Hands over output that still waits for more to come; call before power-off. */
  flush(): void {
    this.#output.flush();
  }

  canReceive(): number {
    if (this.#looped()) return 0;
    return Math.max(0, this.#capacity() - this.#state.received.length);
  }

  receive(bytes: Uint8Array): void {
    for (const byte of bytes) this.#accept(byte);
    this.#update();
  }

  readByte(offset: number): number {
    const s = this.#state;
    switch (offset) {
      case 0:
        return this.#dlab() ? s.divisor & 0xff : this.#readReceived();
      case 1:
        return this.#dlab() ? s.divisor >> 8 : s.interruptEnable;
      case 2:
        return this.#readInterruptIdentity();
      case 3:
        return s.lineControl;
      case 4:
        return s.modemControl;
      case 5:
        return this.#readLineStatus();
      case 6:
        return this.#readModemStatus();
      default:
        return s.scratch;
    }
  }

  writeByte(offset: number, value: number): void {
    const s = this.#state;
    if (offset === 0) {
      if (this.#dlab()) s.divisor = (s.divisor & 0xff00) | value;
      else this.#transmit(value);
    } else if (offset === 1) {
      if (this.#dlab()) s.divisor = (s.divisor & 0xff) | (value << 8);
      else this.#writeInterruptEnable(value);
    } else if (offset === 2) this.#writeFifoControl(value);
    else if (offset === 3) s.lineControl = value;
    else if (offset === 4) this.#writeModemControl(value);
    else if (offset === 7) s.scratch = value;
    this.#update();
  }

  #readReceived(): number {
    const s = this.#state;
    const byte = s.received.shift() ?? 0;
    s.timeoutPending = false;
    s.timeoutDeadlineNanos = s.received.length > 0 ? this.#clock.nowNanos() + RX_TIMEOUT_NANOS : undefined;
    this.#update();
    return byte;
  }

  #readInterruptIdentity(): number {
    const identity = this.#interruptIdentity();
    if (identity === IIR.transmitterEmpty) this.#state.transmitterEmptyPending = false;
    this.#update();
    return identity | (this.#fifosEnabled() ? IIR_FIFOS_ENABLED : 0);
  }

  #readLineStatus(): number {
    const s = this.#state;
    const ready = s.received.length > 0 ? LSR.dataReady : 0;
    const overrun = s.overrun ? LSR.overrun : 0;
    s.overrun = false;
    this.#update();
    return LSR.transmitterIdle | ready | overrun;
  }

  #readModemStatus(): number {
    const status = this.#modemLines() | this.#state.modemDelta;
    this.#state.modemDelta = 0;
    this.#update();
    return status;
  }

  /** A byte goes out at once, so the holding register is empty again: its interrupt is due. */
  #transmit(byte: number): void {
    this.#state.transmitterEmptyPending = true;
    if (this.#looped()) this.#accept(byte);
    else this.#output.push(byte);
  }

  /** Enabling the transmitter-empty interrupt while the register is empty raises it (Linux tests for this). */
  #writeInterruptEnable(value: number): void {
    const s = this.#state;
    const enabled = value & ~s.interruptEnable;
    s.interruptEnable = value & 0x0f;
    if (enabled & IER.transmitterEmpty) s.transmitterEmptyPending = true;
  }

  #writeFifoControl(value: number): void {
    const s = this.#state;
    const switched = ((value ^ s.fifoControl) & FCR.enable) !== 0;
    s.fifoControl = value & FCR.enable ? value & FCR_STORED : 0;
    if (!switched && !(value & FCR.clearReceiver)) return;
    s.received = [];
    s.timeoutPending = false;
    s.timeoutDeadlineNanos = undefined;
  }

  #writeModemControl(value: number): void {
    const s = this.#state;
    const before = this.#modemLines();
    s.modemControl = value & 0x1f;
    const changed = before ^ this.#modemLines();
    s.modemDelta |= (changed >> 4) & ~(MSR.ring >> 4);
    if (changed & before & MSR.ring) s.modemDelta |= MSR.ring >> 4; // trailing edge only
  }

  #accept(byte: number): void {
    const s = this.#state;
    if (s.received.length >= this.#capacity()) {
      s.overrun = true;
      return;
    }
    s.received.push(byte);
    s.timeoutPending = false;
    s.timeoutDeadlineNanos = this.#fifosEnabled() ? this.#clock.nowNanos() + RX_TIMEOUT_NANOS : undefined;
  }

  #receiveTimeout(): void {
    this.#state.timeoutDeadlineNanos = undefined;
    this.#state.timeoutPending = this.#state.received.length > 0;
    this.#update();
  }

  /** 8.6: the highest of the pending and enabled sources. */
  #interruptIdentity(): number {
    const s = this.#state;
    if (s.interruptEnable & IER.lineStatus && s.overrun) return IIR.lineStatus;
    if (s.interruptEnable & IER.receivedData) {
      if (s.received.length >= this.#triggerBytes()) return IIR.receivedData;
      if (s.timeoutPending) return IIR.timeout;
    }
    if (s.interruptEnable & IER.transmitterEmpty && s.transmitterEmptyPending) return IIR.transmitterEmpty;
    if (s.interruptEnable & IER.modemStatus && s.modemDelta) return IIR.modemStatus;
    return IIR.none;
  }

  /** The interrupt pin and the timeout's timer follow from the state. */
  #update(): void {
    const s = this.#state;
    const gate = (s.modemControl & (MCR.out2 | MCR.loop)) === MCR.out2;
    this.#irq.set(gate && this.#interruptIdentity() !== IIR.none);
    if (s.timeoutDeadlineNanos === undefined) this.#timeout.cancel();
    else if (this.#timeout.deadlineNanos !== s.timeoutDeadlineNanos) this.#timeout.arm(s.timeoutDeadlineNanos);
  }

  /** MSR's upper half: in loopback the modem outputs (8.7), otherwise a connected peer. */
  #modemLines(): number {
    const mcr = this.#state.modemControl;
    if (!(mcr & MCR.loop)) return MSR.cts | MSR.dsr | MSR.carrier;
    const rts = mcr & MCR.rts ? MSR.cts : 0;
    const dtr = mcr & MCR.dtr ? MSR.dsr : 0;
    const out1 = mcr & MCR.out1 ? MSR.ring : 0;
    return rts | dtr | out1 | (mcr & MCR.out2 ? MSR.carrier : 0);
  }

  #dlab(): boolean {
    return (this.#state.lineControl & LCR_DLAB) !== 0;
  }

  #looped(): boolean {
    return (this.#state.modemControl & MCR.loop) !== 0;
  }

  #fifosEnabled(): boolean {
    return (this.#state.fifoControl & FCR.enable) !== 0;
  }

  #capacity(): number {
    return this.#fifosEnabled() ? FIFO_BYTES : 1;
  }

  #triggerBytes(): number {
    return this.#fifosEnabled() ? TRIGGER_BYTES[this.#state.fifoControl >> 6] : 1;
  }
}
