/**
 * A CPU whose "machine code" is the name of one of the programs below, so that
 * the machine around it can be tested without a real one. A program is called
 * again and again; each call is one slice.
 */
import { UserError } from '../../base/index.ts';
import type { BootEntry, RunExit, Vcpu, VcpuEnvironment } from '../../contract/index.ts';
import { ACPI, PORTS } from '../../hw/index.ts';
import { testMemory } from '../../hw/testing/kernels.ts';
import type { CreateAccelerator } from '../parts.ts';

interface Guest {
  readonly environment: VcpuEnvironment;
  /** Slices since the last reset. */
  slice: number;
  /** Resets since the machine was made. */
  boots: number;
  print(text: string): void;
  powerOff(): void;
  reset(): void;
}

const LINE_STATUS = PORTS.com1.base + 5;
const DATA_READY = 1;
const SLEEP_ENABLE = 1 << 13;

const SLICE: RunExit = { kind: 'slice' };
const HALT: RunExit = { kind: 'halt' };

const PROGRAMS: Readonly<Record<string, (guest: Guest) => RunExit>> = {
  hello(guest) {
    guest.print('hello\n');
    guest.powerOff();
    return SLICE;
  },
  /** Prints what comes in, in capitals; ends at 'q'. */
  echo(guest) {
    const { ports } = guest.environment;
    while (ports.read(LINE_STATUS, 1) & DATA_READY) {
      const byte = ports.read(PORTS.com1.base, 1);
      if (byte === 0x71) guest.powerOff();
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
    if (guest.boots < 3) guest.reset();
    else guest.powerOff();
    return SLICE;
  },
  panic(guest) {
    guest.print('[    0.5] Kernel panic - not syncing: No working init found.\n');
    guest.reset();
    return SLICE;
  },
  panicForever(guest) {
    const text = 'Kernel panic - not syncing: No working init found.';
    if (guest.slice === 0) guest.print(`[    0.5] ${text}\n[    0.6] ---[ end ${text} ]---\n`);
    return HALT;
  },
  triple: () => ({ kind: 'shutdown', reason: 'triple fault at 0x1234' }),
  haltedForever: () => HALT,
  debugExit(guest) {
    guest.environment.ports.write(PORTS.debugExit.base, 4, 3);
    return SLICE;
  },
  busy: () => SLICE,
  idle: () => HALT,
  mistake() {
    throw new Error('a bug');
  },
  /** Sleeps 20 times for 1.5 ms and tells how long that took. */
  sleeper(guest) {
    const { clock } = guest.environment;
    if (guest.slice === 0) {
      let left = 20;
      const timer = clock.createTimer(() => {
        left--;
        if (left > 0) timer.arm(clock.nowNanos() + 1_500_000);
        else {
          guest.print(`${clock.nowNanos() - start}`);
          guest.powerOff();
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
      for (const character of text) environment.ports.write(PORTS.com1.base, 1, character.charCodeAt(0));
    },
    powerOff: () => environment.ports.write(ACPI.pm1aControlBlock.base, 2, SLEEP_ENABLE | (ACPI.sleepTypeS5 << 10)),
    reset: () => environment.ports.write(ACPI.resetPort, 1, ACPI.resetValue),
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
    nanosFromTsc: (low, high) => high * 2 ** 32 + low,
    isWaitingForStartup: false,
    snapshot: () => ({}),
    restore() {},
    describe: () => 'RIP=0000000000000000',
    interruptRequest() {},
    nmi() {},
    init() {},
    startup() {},
    setA20() {},
    stop() {},
  };
}
