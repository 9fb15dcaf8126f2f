/**
 * The machine's own loop: guest code in slices, timers, serial bytes and the
 * host's event loop by turns; asleep while the guest is.
 */
import type { ThreadContext } from '../contract/index.ts';
import type { RunControl } from './control.ts';
import type { MachineExit } from './exit.ts';
import type { PanicWatch } from './panic.ts';
import type { AssembledMachine, GuestRequest } from './parts.ts';
import type { SerialPort } from './serial-port.ts';

/** How long guest code runs at most before timers are looked at; an armed timer shortens it. */
const SLICE_NANOS = 1_000_000;
const SLICE_MIN_NANOS = 20_000;
/** How long messages may wait while the guest is busy. */
const TURN_NANOS = 4_000_000;
/** The same, and the length of a slice, while the host is at work for a device. */
const IO_TURN_NANOS = 200_000;
/** How long a panicked kernel must be silent before it counts as stopped for good. */
export const PANIC_SILENCE_NANOS = 1_000_000_000;

export interface RunOptions {
  readonly noReboot: boolean;
  readonly serial: readonly SerialPort[];
  readonly panic: PanicWatch;
  readonly control: RunControl;
  /** True once somebody asked the machine to stop. */
  stopRequested(): boolean;
}

/** Runs the machine until it ends. */
export async function runMachine(
  machine: AssembledMachine,
  thread: ThreadContext,
  options: RunOptions,
): Promise<MachineExit> {
  const { clock, vcpu, gathered } = machine;
  const { serial, panic, control } = options;
  let lastTurn = thread.monotonicNanos();
  let silentSince: number | undefined;
  control.enter('running');
  for (;;) {
    const ioPending = machine.ioPending();
    if (thread.monotonicNanos() - lastTurn >= (ioPending ? IO_TURN_NANOS : TURN_NANOS)) {
      await thread.nextTurn();
      lastTurn = thread.monotonicNanos();
    }
    if (options.stopRequested()) return { reason: 'stopped', message: 'the machine was stopped' };
    if (control.state !== 'running') {
      gathered.finish();
      clock.pause();
      await thread.sleep(Number.POSITIVE_INFINITY);
      continue;
    }
    clock.resume();
    if (serial.some((port) => port.outputFull)) {
      await thread.sleep(Number.POSITIVE_INFINITY);
      continue;
    }
    clock.runExpired();
    pumpAll(serial);
    const sliceNanos = Math.min(ioPending ? IO_TURN_NANOS : SLICE_NANOS, gathered.untilDueNanos);
    const ranFrom = thread.monotonicNanos();
    const exit = vcpu.run(Math.max(SLICE_MIN_NANOS, Math.min(sliceNanos, clock.untilNextNanos())));
    const isGuestBusy = exit.kind !== 'halt' && gathered.untilDueNanos > 0;
    const hasAnswered = !isGuestBusy && gathered.finish();
    for (const port of serial) port.flush();
    if (control.throttlePercent > 0 && exit.kind === 'slice') {
      await thread.sleep(throttleNanos(thread.monotonicNanos() - ranFrom, control.throttlePercent), true);
    }

    const request = machine.takeRequest();
    if (request !== undefined) {
      const end = endOf(request, options, machine);
      if (end === undefined) continue;
      if (end !== 'reset') return end;
      machine.reset();
      control.tell({ kind: 'reset', byGuest: true });
      continue;
    }
    silentSince = panic.ended ? (silentSince ?? clock.nowNanos()) : undefined;
    const silentNanos = silentSince === undefined ? 0 : clock.nowNanos() - silentSince;
    const diesAlone = control.actions.deadGuest === 'end';
    if (diesAlone && silentNanos > PANIC_SILENCE_NANOS) return panicExit(panic.message ?? '');

    if (exit.kind === 'shutdown') {
      if (control.actions.tripleFault === 'end') return shutdownExit(exit.reason, machine, panic);
      const end = endOf({ kind: 'reset' }, options, machine);
      if (end === undefined) continue;
      if (end !== 'reset') return end;
      machine.reset();
      control.tell({ kind: 'reset', byGuest: true });
      continue;
    }
    if (exit.kind === 'debug') control.enter('debug');
    if (exit.kind !== 'halt' || hasAnswered || pumpAll(serial)) continue;
    if (vcpu.haltedForever && diesAlone) return haltedExit(machine, panic);
    const wait = silentSince === undefined ? clock.untilNextNanos() : Math.min(clock.untilNextNanos(), 1e8);
    await thread.sleep(wait, machine.ioPending());
  }
}

/** How long a guest that ran for `nanos` stands still, so that it loses `percent` of its time. */
function throttleNanos(nanos: number, percent: number): number {
  return (nanos * percent) / (100 - percent);
}

/** Hands over serial input; true when a device took some. */
export function pumpAll(serial: readonly SerialPort[]): boolean {
  let moved = false;
  for (const port of serial) moved = port.pump() || moved;
  return moved;
}

/** How the machine ends by the guest's request, whether it starts again, or undefined when it stands still from now on. */
export function endOf(
  request: GuestRequest,
  { noReboot, panic, control }: RunOptions,
  machine: Pick<AssembledMachine, 'vcpu' | 'pressPowerButton'>,
): MachineExit | 'reset' | undefined {
  const powerOff = (
    cause: 'guest-shutdown' | 'guest-reset' | 'guest-panic',
    end: MachineExit,
  ): MachineExit | undefined => {
    control.tell({ kind: 'shutdown', cause });
    if (control.actions.powerOff === 'end') return end;
    control.enter('shutdown');
    return undefined;
  };
  switch (request.kind) {
    case 'power-off':
      return powerOff('guest-shutdown', { reason: 'poweroff', message: 'the guest powered off' });
    case 'debug-exit':
      return {
        reason: 'debug-exit',
        code: request.code,
        message: `the guest wrote to the debug-exit port: exit status ${request.code}`,
      };
    case 'reset':
      if (panic.message !== undefined && control.actions.deadGuest === 'end') return panicExit(panic.message);
      if (!noReboot && control.actions.reboot === 'reset') return 'reset';
      return powerOff('guest-reset', { reason: 'reset', message: 'the guest reset the machine' });
    case 'panicked':
      return endOfPanic(control, powerOff);
    case 'watchdog':
      return endOfWatchdog(control, machine);
  }
}

const PANICKED: MachineExit = { reason: 'panic', message: 'the guest says that it panicked' };

function endOfPanic(
  control: RunControl,
  powerOff: (cause: 'guest-panic', end: MachineExit) => MachineExit | undefined,
): MachineExit | undefined {
  const action = control.actions.panic;
  control.tell({ kind: 'panicked', action });
  switch (action) {
    case 'none':
      return undefined;
    case 'pause':
      control.enter('guest-panicked');
      return undefined;
    case 'end':
      return powerOff('guest-panic', { ...PANICKED, code: 0 });
    case 'fail':
      return powerOff('guest-panic', { ...PANICKED, code: 1 });
  }
}

function endOfWatchdog(
  control: RunControl,
  { vcpu, pressPowerButton }: Pick<AssembledMachine, 'vcpu' | 'pressPowerButton'>,
): MachineExit | 'reset' | undefined {
  const action = control.actions.watchdog;
  control.tell({ kind: 'watchdog', action });
  switch (action) {
    case 'reset':
      return 'reset';
    case 'shutdown':
      pressPowerButton();
      return undefined;
    case 'power-off':
      return { reason: 'poweroff', message: "the guest's watchdog expired" };
    case 'pause':
      control.enter('watchdog');
      return undefined;
    case 'nmi':
      vcpu.nmi();
      return undefined;
    case 'debug':
    case 'none':
      return undefined;
  }
}

export function panicExit(message: string): MachineExit {
  return { reason: 'panic', message: `the guest's kernel panicked: ${message}` };
}

export function shutdownExit(reason: string, { vcpu }: AssembledMachine, panic: PanicWatch): MachineExit {
  if (panic.message !== undefined) return panicExit(panic.message);
  return { reason: 'shutdown', message: `the guest crashed: ${reason}`, details: vcpu.describe() };
}

export function haltedExit({ vcpu }: AssembledMachine, panic: PanicWatch): MachineExit {
  if (panic.message !== undefined) return panicExit(panic.message);
  return {
    reason: 'halted',
    message: 'the guest halted with interrupts off: nothing can wake it',
    details: vcpu.describe(),
  };
}
