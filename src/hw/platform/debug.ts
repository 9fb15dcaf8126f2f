/** Ports for software that talks to its emulator: QEMU's isa-debug-exit and isa-debugcon. Neither has state. */
import type { BusDevice } from '../../contract/index.ts';
import { byteWide } from '../bus/index.ts';
import type { OutputBuffer } from '../serial/output-buffer.ts';

/** What a read of the console port answers, by which software finds it. */
const CONSOLE_PRESENT = 0xe9;

/** @param onExit is told the written value `v`; the exit code is `v << 1 | 1`, never 0 */
export function debugExit(onExit: (value: number) => void): BusDevice {
  return {
    read: () => 0,
    write: (_offset, _size, value) => onExit(value),
  };
}

/** Every byte written goes out. */
export function debugConsole(output: OutputBuffer): BusDevice {
  return byteWide({ readByte: () => CONSOLE_PRESENT, writeByte: (_offset, value) => output.push(value) });
}
