/**
 * A CPU whose "machine code" is the name of one of the programs below, so that
 * the machine around it can be tested without a real one. A program is called
 * again and again; each call is one slice.
 */
import { UserError } from '../../base/index.ts';
import type { BootEntry, RunExit, Vcpu, VcpuEnvironment } from '../../contract/index.ts';
import { testMemory } from '../../hw/testing/kernels.ts';
import type { CreateAccelerator } from '../parts.ts';
import { NO_BYTE, PORT } from './fake-board.ts';

interface Guest {
  readonly environment: VcpuEnvironment;
  /** Slices since the last reset. */
  slice: number;
  /** Resets since the machine was made. */
  boots: number;
  print(text: string): void;
}

const SLICE: RunExit = { kind: 'slice' };
const HALT: RunExit = { kind: 'halt' };

const PROGRAMS: Readonly<Record<string, (guest: Guest) => RunExit>> = {
  hello(guest) {
    guest.print('hello\n');
    guest.environment.ports.write(PORT.powerManagement, 2, 0x2000);
    return SLICE;
  },
  /** Prints what comes in, in capitals; ends at 'q'. */
  echo(guest) {
    const { ports } = guest.environment;
    for (let byte = ports.read(PORT.com1, 1); byte !== NO_BYTE; byte = ports.read(PORT.com1, 1)) {
      if (byte === 0x71) ports.write(PORT.powerManagement, 2, 0x2000);
      guest.print(String.fromCharCode(byte).toUpperCase());
    }
    return HALT;
  },
  flood(guest) {
    guest.print('x'.repeat(4096));
    return SLICE;
  },
  reboot(guest) {
    guest.print(`boot ${guest.boots}\n`);
    guest.environment.ports.write(guest.boots < 3 ? PORT.resetControl : PORT.powerManagement, 1, 6);
    return SLICE;
  },
  panic(guest) {
    guest.print('[    0.5] Kernel panic - not syncing: No working init found.\n');
    guest.environment.ports.write(PORT.resetControl, 1, 6);
    return SLICE;
  },
  panicForever(guest) {
    const text = 'Kernel panic - not syncing: No working init found.';
    if (guest.slice === 0) guest.print(`[    0.5] ${text}\n[    0.6] ---[ end ${text} ]---\n`);
    return HALT;
  },
  triple: () => ({ kind: 'shutdown', reason: 'page fault at 0x1234' }),
  haltedForever: () => HALT,
  debugExit(guest) {
    guest.environment.ports.write(PORT.debugExit, 4, 3);
    return SLICE;
  },
  busy: () => SLICE,
  idle: () => HALT,
  mistake() {
    throw new Error('a bug');
  },
  /** Sleeps 20 times for 1.5 ms and tells how long that took. */
  sleeper(guest) {
    const { clock, ports } = guest.environment;
    if (guest.slice === 0) {
      let left = 20;
      const timer = clock.createTimer(() => {
        left--;
        if (left > 0) timer.arm(clock.nowNanos() + 1_500_000);
        else {
          guest.print(`${clock.nowNanos() - start}`);
          ports.write(PORT.powerManagement, 2, 0x2000);
        }
      });
      const start = clock.nowNanos();
      timer.arm(start + 1_500_000);
    }
    return HALT;
  },
};

export const createFakeAccelerator: CreateAccelerator = async ({ cpuModel, ramRanges }) => {
  if (cpuModel !== 'max') throw new UserError(`there is no CPU model ${cpuModel}`);
  const memory = testMemory(ramRanges.reduce((sum, { size }) => sum + size, 0));
  return { memory, createVcpu: fakeVcpu };
};

function fakeVcpu(environment: VcpuEnvironment): Vcpu {
  let program = '';
  const guest: Guest = {
    environment,
    slice: 0,
    boots: 0,
    print(text) {
      for (const character of text) environment.ports.write(PORT.com1, 1, character.charCodeAt(0));
    },
  };
  return {
    run() {
      const exit = PROGRAMS[program](guest);
      guest.slice++;
      return exit;
    },
    reset() {
      guest.slice = 0;
      guest.boots++;
    },
    setEntry(entry: BootEntry) {
      const code = environment.memory.view(entry.rip, 32) ?? new Uint8Array();
      program = String.fromCharCode(...code).replace(/\0.*$/s, '');
    },
    get haltedForever() {
      return program === 'haltedForever';
    },
    describe: () => 'RIP=0000000000000000',
    interruptRequest() {},
    nmi() {},
    init() {},
    startup() {},
    setA20() {},
  };
}
