/** Port 92h: the alternate A20 gate and the fast reset. ICH9 datasheet, 13.7.4. */

import { int, stateTable } from '../../base/index.ts';
import type { Device, DeviceRecord } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';

const FAST_INIT = 0x01;
const A20 = 0x02;

const STATE = stateTable({ control: int(0, A20, 0) });

export class SystemControlA implements Device, ByteRegisters {
  readonly name = 'system-control-a';
  readonly #setA20: (enabled: boolean) => void;
  readonly #onReset: () => void;
  #state = STATE.initial();

  constructor(options: { setA20: (enabled: boolean) => void; onReset: () => void }) {
    this.#setA20 = options.setA20;
    this.#onReset = options.onReset;
  }

  reset(): void {
    this.#state = STATE.initial();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    this.#update();
  }

  readByte(): number {
    return this.#state.control;
  }

  writeByte(_offset: number, value: number): void {
    this.#state.control = value & A20;
    this.#update();
    if (value & FAST_INIT) this.#onReset();
  }

  #update(): void {
    this.#setA20((this.#state.control & A20) !== 0);
  }
}
