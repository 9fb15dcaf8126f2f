/**
 * The machine's loop where vCPUs have threads of their own: what they ask of
 * devices, timers, serial bytes and the host's event loop; asleep when there is
 * nothing to do.
 */
import type { ThreadContext, VcpuThreads, VcpuThreadsEvent } from '../contract/index.ts';
import type { RunControl } from './control.ts';
import type { MachineExit } from './exit.ts';
import type { PanicWatch } from './panic.ts';
import type { AssembledMachine, GuestRequest } from './parts.ts';
import {
  endOf,
  haltedExit,
  PANIC_SILENCE_NANOS,
  panicExit,
  pumpAll,
  type RunOptions,
  shutdownExit,
} from './run-loop.ts';

/** How long messages may wait while vCPUs ask all the time. */
const TURN_NANOS = 2_000_000;
/** The same while the host is at work for a device. */
const IO_TURN_NANOS = 200_000;
/** How long what was done for vCPUs may be unknown to the event loop. */
const STIRRED_NANOS = 300_000;
/** After this long without a request of a vCPU, and then twice as long each time, all are looked at: do they wait for ever? */
const SILENCE_FIRST_NANOS = 1_000_000_000;
const SILENCE_LAST_NANOS = 64_000_000_000;
const PANIC_POLL_NANOS = 100_000_000;
const THROTTLE_PERIOD_NANOS = 10_000_000;

/** Runs the machine until it ends. */
export async function runThreads(
  machine: AssembledMachine,
  vcpus: VcpuThreads,
  thread: ThreadContext,
  options: RunOptions,
): Promise<MachineExit> {
  const { clock } = machine;
  const { serial, panic, control } = options;
  const now = () => thread.monotonicNanos();
  let turnDue = false;
  let lastTurn = now();
  /** Something was done since the event loop had its turn, of which it may have to know. */
  let stirred = true;
  let silentSince: number | undefined;
  const silence = new Silence(now);
  control.enter('running');
  for (;;) {
    const served = vcpus.serve();
    if (served) silence.end();
    if (vcpus.running) clock.runExpired();
    stirred = pumpAll(serial) || served || stirred;
    for (const port of serial) port.flush();

    if (options.stopRequested()) return { reason: 'stopped', message: 'the machine was stopped' };
    const event = vcpus.takeEvent();
    const request = machine.takeRequest() ?? requestOf(event, control);
    if (request !== undefined) {
      const end = endOf(request, options, machine);
      if (end === 'reset') {
        machine.reset();
        control.tell({ kind: 'reset', byGuest: true });
      } else if (end !== undefined) return end;
    } else if (event?.kind === 'debug') {
      vcpus.pause();
      control.enter('debug');
    } else if (event !== undefined) return endOfEvent(event, machine, panic);
    const diesAlone = control.actions.deadGuest === 'end';
    silentSince = panic.ended && diesAlone ? (silentSince ?? clock.nowNanos()) : undefined;
    if (silentSince !== undefined && clock.nowNanos() - silentSince > PANIC_SILENCE_NANOS)
      return panicExit(panic.message ?? '');
    if (control.state !== 'running' || serial.some((port) => port.outputFull)) {
      vcpus.pause();
      if (control.state !== 'running') clock.pause();
      await thread.sleep(Number.POSITIVE_INFINITY);
      continue;
    }
    if (isThrottled(control.throttlePercent, now())) {
      vcpus.pause();
      await thread.sleep(THROTTLE_PERIOD_NANOS / 10, true);
      continue;
    }
    if (!vcpus.running) {
      clock.resume();
      vcpus.resume();
    }

    const ioPending = machine.ioPending();
    const sinceTurn = now() - lastTurn;
    if (turnDue || sinceTurn >= (ioPending ? IO_TURN_NANOS : TURN_NANOS) || (stirred && ioPending)) {
      await thread.nextTurn();
      lastTurn = now();
      turnDue = stirred = false;
    } else if (!vcpus.spin()) {
      if (silence.isLong && diesAlone && haltedForever(vcpus)) return haltedExit(machine, panic);
      // Requests of vCPUs come one after the other: the event loop has its turn when there are no more.
      const polls = stirred || machine.block?.isBusy === true;
      const atMost = control.throttlePercent > 0 ? THROTTLE_PERIOD_NANOS / 10 : polls ? STIRRED_NANOS : 1e15;
      const nanos = Math.min(clock.untilNextNanos(), silence.untilLongNanos, atMost);
      turnDue = vcpus.wait(silentSince === undefined ? nanos : Math.min(nanos, PANIC_POLL_NANOS));
      // A doorbell or a timer may have begun something that goes on in the event loop.
      stirred = true;
    }
  }
}

/** In each period vCPUs run first, then stand still for `percent` of it. */
function isThrottled(percent: number, nowNanos: number): boolean {
  return percent > 0 && (nowNanos % THROTTLE_PERIOD_NANOS) / THROTTLE_PERIOD_NANOS >= 1 - percent / 100;
}

/** A triple fault resets a machine that is not to end of it. */
function requestOf(event: VcpuThreadsEvent | undefined, { actions }: RunControl): GuestRequest | undefined {
  return event?.kind === 'shutdown' && actions.tripleFault === 'reset' ? { kind: 'reset' } : undefined;
}

/** How long vCPUs have asked for nothing. */
class Silence {
  readonly #now: () => number;
  #since: number;
  #length = SILENCE_FIRST_NANOS;

  constructor(now: () => number) {
    this.#now = now;
    this.#since = now();
  }

  end(): void {
    this.#since = this.#now();
    this.#length = SILENCE_FIRST_NANOS;
  }

  get untilLongNanos(): number {
    return Math.max(0, this.#since + this.#length - this.#now());
  }

  /** True once for each length. */
  get isLong(): boolean {
    if (this.untilLongNanos > 0) return false;
    this.#since = this.#now();
    this.#length = Math.min(this.#length * 2, SILENCE_LAST_NANOS);
    return true;
  }
}

function haltedForever(vcpus: VcpuThreads): boolean {
  vcpus.pause();
  const { haltedForever: isEnd } = vcpus;
  vcpus.resume();
  return isEnd;
}

function endOfEvent(
  event: Exclude<VcpuThreadsEvent, { kind: 'debug' }>,
  machine: AssembledMachine,
  panic: PanicWatch,
): MachineExit {
  machine.vcpus?.pause();
  switch (event.kind) {
    case 'shutdown':
      return shutdownExit(event.reason, machine, panic);
    case 'failure':
      return { reason: 'error', message: event.message, details: machine.vcpus?.describe(event.cpu) };
  }
}
