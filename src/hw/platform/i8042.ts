/**
 * The 8042 keyboard controller with nothing plugged in: IBM PC AT Technical
 * Reference, section 1, "Keyboard Controller". It tests itself, keeps its
 * configuration, gates A20 and resets the machine; bytes for a keyboard or
 * mouse are answered with a timeout.
 */

import type { StateOf } from '../../base/index.ts';
import { array, bool, list, oneOf, optional, stateTable, u8 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord, IrqLine } from '../../contract/index.ts';
import { byteWide } from '../bus/index.ts';

const STATUS = { outputFull: 0x01, system: 0x04, command: 0x08, keyUnlocked: 0x10, fromMouse: 0x20, timeout: 0x40 };
const CONFIG = { keyboardIrq: 0x01, mouseIrq: 0x02, system: 0x04, keyboardOff: 0x10, mouseOff: 0x20 };
const OUTPUT_PORT = { reset: 0x01, a20: 0x02 };
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0x55;
const INTERFACE_TEST_PASSED = 0x00;
const QUEUE_BYTES = 16;
const RAM_BYTES = 32;

const ANSWER = stateTable({ byte: u8(), source: oneOf('controller', 'keyboard', 'mouse'), timeout: bool() });
const STATE = stateTable({
  /** Byte 0 is the configuration. */
  ram: array(RAM_BYTES, u8()),
  outputPort: u8(0xcf),
  /** The command whose data byte is awaited. */
  command: optional(u8()),
  lastWasCommand: bool(),
  answers: list(QUEUE_BYTES, ANSWER),
});
type Answer = StateOf<typeof ANSWER>;

export class I8042 implements Device {
  readonly name = 'i8042';
  /** Ports 60h and 64h. */
  readonly data: BusDevice;
  readonly command: BusDevice;
  readonly #options: {
    keyboardIrq: IrqLine;
    mouseIrq: IrqLine;
    setA20: (enabled: boolean) => void;
    onReset: () => void;
  };
  #state: StateOf<typeof STATE> = initialState();

  constructor(options: {
    keyboardIrq: IrqLine;
    mouseIrq: IrqLine;
    setA20: (enabled: boolean) => void;
    onReset: () => void;
  }) {
    this.#options = options;
    this.data = byteWide({ readByte: () => this.#readData(), writeByte: (_, value) => this.#writeData(value) });
    this.command = byteWide({ readByte: () => this.#readStatus(), writeByte: (_, value) => this.#writeCommand(value) });
  }

  reset(): void {
    this.#state = initialState();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    this.#update();
  }

  #readStatus(): number {
    const s = this.#state;
    const answer = s.answers[0];
    const full = answer ? STATUS.outputFull : 0;
    const fromMouse = answer?.source === 'mouse' ? STATUS.fromMouse : 0;
    const timeout = answer?.timeout ? STATUS.timeout : 0;
    const command = s.lastWasCommand ? STATUS.command : 0;
    return full | fromMouse | timeout | command | STATUS.keyUnlocked | (s.ram[0] & CONFIG.system ? STATUS.system : 0);
  }

  #readData(): number {
    const answer = this.#state.answers.shift();
    this.#options.keyboardIrq.set(false); // each byte is an edge of its own
    this.#options.mouseIrq.set(false);
    this.#update();
    return answer?.byte ?? 0;
  }

  #writeCommand(command: number): void {
    const s = this.#state;
    s.lastWasCommand = true;
    s.command = undefined;
    if (command >= 0x20 && command < 0x40) this.#answer(s.ram[command - 0x20]);
    else if (command >= 0x60 && command < 0x80) s.command = command;
    else if (command >= 0xf0) this.#pulse(command);
    else this.#runCommand(command);
    this.#update();
  }

  #runCommand(command: number): void {
    const s = this.#state;
    switch (command) {
      case 0xa7:
        s.ram[0] |= CONFIG.mouseOff;
        break;
      case 0xa8:
        s.ram[0] &= ~CONFIG.mouseOff;
        break;
      case 0xa9:
      case 0xab:
        this.#answer(INTERFACE_TEST_PASSED);
        break;
      case 0xaa:
        s.ram[0] |= CONFIG.system;
        this.#answer(SELF_TEST_PASSED);
        break;
      case 0xad:
        s.ram[0] |= CONFIG.keyboardOff;
        break;
      case 0xae:
        s.ram[0] &= ~CONFIG.keyboardOff;
        break;
      case 0xc0:
        this.#answer(0x80); // the input port: keyboard not locked
        break;
      case 0xd0:
        this.#answer(s.outputPort);
        break;
      case 0xd1:
      case 0xd2:
      case 0xd3:
      case 0xd4:
        s.command = command;
        break;
      case 0xdd:
        s.outputPort &= ~OUTPUT_PORT.a20;
        break;
      case 0xdf:
        s.outputPort |= OUTPUT_PORT.a20;
    }
  }

  #writeData(value: number): void {
    const s = this.#state;
    const { command } = s;
    s.lastWasCommand = false;
    s.command = undefined;
    if (command === undefined) this.#answer(RESEND, 'keyboard', true);
    else if (command < 0x80) s.ram[command - 0x60] = value;
    else if (command === 0xd1) this.#writeOutputPort(value);
    else if (command === 0xd2) this.#answer(value, 'keyboard');
    else if (command === 0xd3) this.#answer(value, 'mouse');
    else this.#answer(RESEND, 'mouse', true);
    this.#update();
  }

  #writeOutputPort(value: number): void {
    this.#state.outputPort = value;
    if (!(value & OUTPUT_PORT.reset)) this.#options.onReset();
  }

  /** Commands F0h to FFh pull the output port's low bits that are 0 in the command. */
  #pulse(command: number): void {
    if (!(command & OUTPUT_PORT.reset)) this.#options.onReset();
  }

  /** An answer that does not fit is lost, as bytes overrun in the chip. */
  #answer(byte: number, source: Answer['source'] = 'controller', timeout = false): void {
    const { answers } = this.#state;
    if (answers.length < QUEUE_BYTES) answers.push({ byte, source, timeout });
  }

  #update(): void {
    const s = this.#state;
    const source = s.answers[0]?.source;
    this.#options.setA20((s.outputPort & OUTPUT_PORT.a20) !== 0);
    this.#options.keyboardIrq.set(source === 'keyboard' && (s.ram[0] & CONFIG.keyboardIrq) !== 0);
    this.#options.mouseIrq.set(source === 'mouse' && (s.ram[0] & CONFIG.mouseIrq) !== 0);
  }
}

function initialState(): StateOf<typeof STATE> {
  const state = STATE.initial();
  state.ram[0] = CONFIG.system | CONFIG.keyboardOff | CONFIG.mouseOff;
  return state;
}
