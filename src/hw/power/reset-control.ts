/** The reset control register, port CF9h: ICH9 datasheet, 13.7.5. */

import { int, stateTable } from '../../base/index.ts';
import type { Device, DeviceRecord } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';

const RESET_CPU = 0x04;
/** Full reset, reset CPU, system reset. */
const WRITABLE = 0x0e;

const STATE = stateTable({ control: int(0, WRITABLE, 0) });

export class ResetControl implements Device, ByteRegisters {
  readonly name = 'reset-control';
  readonly #onReset: () => void;
  #state = STATE.initial();

  constructor(onReset: () => void) {
    this.#onReset = onReset;
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

  readByte(): number {
    return this.#state.control;
  }

  /** Hard and soft reset are one here: RST_CPU going up resets the machine. */
  writeByte(_offset: number, value: number): void {
    const before = this.#state.control;
    this.#state.control = value & WRITABLE;
    if (value & ~before & RESET_CPU) this.#onReset();
  }
}
