/** The least of a board that the machine's tests need: COM1, power-off, reset, debug-exit. */
import type { Bus, LocalApic } from '../../contract/index.ts';
import type { CreateBoard } from '../parts.ts';

/** I/O ports of the fake board, at the PC's places. */
export const PORT = { com1: 0x3f8, powerManagement: 0x604, resetControl: 0xcf9, debugExit: 0xf4 } as const;
/** What COM1 reads when nothing has arrived. */
export const NO_BYTE = 0x100;

export const createFakeBoard: CreateBoard = ({ serial, onPowerOff, onReset, onDebugExit }) => {
  const received: number[] = [];
  serial[0].connect({
    canReceive: () => 16 - received.length,
    receive: (bytes) => received.push(...bytes),
  });
  const ports: Bus = {
    map() {
      throw new Error('the fake board maps nothing');
    },
    read: (address) => (address === PORT.com1 ? (received.shift() ?? NO_BYTE) : 0xff),
    write(address, _size, value) {
      if (address === PORT.com1) serial[0].write(Uint8Array.of(value));
      else if (address === PORT.powerManagement) onPowerOff();
      else if (address === PORT.resetControl) onReset();
      else if (address === PORT.debugExit) onDebugExit(value);
    },
  };
  return {
    ports,
    mmio: { ...ports, read: () => 0, write: () => {} },
    apic: noApic,
    hasKeyboardController: false,
    reset() {
      received.length = 0;
    },
  };
};

const noApic: LocalApic = {
  pendingVector: () => -1,
  acknowledge: () => 0,
  readBase: () => ({ low: 0, high: 0 }),
  writeBase: () => true,
  readTpr: () => 0,
  writeTpr() {},
  readX2apic: () => undefined,
  writeX2apic: () => false,
  readTscDeadline: () => ({ low: 0, high: 0 }),
  writeTscDeadline() {},
  reset() {},
};
