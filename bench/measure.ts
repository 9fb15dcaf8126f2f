/** Runs the emulators by turns and collects what the runs measured. */

import type { GuestEvent } from './console-lines.ts';
import type { Architecture } from './debian.ts';
import type { Emulator, EmulatorName, Guest } from './emulators.ts';
import { BOOT, FOOTPRINT, IDLE } from './groups.ts';
import { type OnEvent, runGuest } from './guest-run.ts';
import { cpuSeconds, residentMebibytes } from './host-usage.ts';

export type Values = Partial<Record<EmulatorName, number[]>>;

export interface Measurements {
  /** Seconds, percent or MiB by row and emulator, one value a run. */
  readonly rows: Map<string, Values>;
  /** What went wrong in the guests, one line each. */
  readonly faults: string[];
  /** What makes the figures doubtful, one line each. */
  readonly doubts: string[];
}

/** The guests of one architecture. */
export interface Guests {
  readonly boot?: Guest;
  readonly kernels?: Guest;
  readonly idle?: Guest;
  /** Names of the kernels in the kernels' guest. */
  readonly kernelNames: readonly string[];
}

export interface MeasureOptions {
  readonly emulators: readonly Emulator[];
  /** What to run; the idle guest runs once, because it takes long and varies little. */
  readonly guests: Readonly<Partial<Record<Architecture, Guests>>>;
  readonly runs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (step: string) => void;
}

/** What the boot left behind settles before an idle guest is measured. */
const IDLE_SETTLE_MILLIS = 1000;
/** How far the guest's clock may be from the host's over a run: console lines arrive late on a busy host. */
const CLOCK_TOLERANCE = 0.05;
const CLOCK_TOLERANCE_SECONDS = 0.2;

/** @throws UserError when a run fails as a whole */
export async function measure(options: MeasureOptions): Promise<Measurements> {
  const { emulators, runs } = options;
  const measurements: Measurements = { rows: new Map(), faults: [], doubts: [] };
  /** The size of C's types is in some results: each architecture has its own. */
  const results = { amd64: new Map<string, string>(), i386: new Map<string, string>() };
  for (let run = 0; run < runs; run += 1) {
    for (const emulator of emulators) {
      const context = { emulator, options, measurements, step: `run ${run + 1} of ${runs}, ${emulator.name}` };
      const guests = options.guests[emulator.architecture];
      if (guests === undefined) continue;
      if (guests.boot !== undefined) await measureBoot(context, guests.boot);
      if (guests.kernels !== undefined)
        await measureKernels(context, guests.kernels, guests.kernelNames, results[emulator.architecture]);
      if (guests.idle !== undefined && run === 0) await measureIdle(context, guests.idle);
    }
  }
  return measurements;
}

interface Context {
  readonly emulator: Emulator;
  readonly options: MeasureOptions;
  readonly measurements: Measurements;
  /** For the progress line. */
  readonly step: string;
}

function add({ rows }: Measurements, row: string, name: EmulatorName, value: number): void {
  const values = rows.get(row) ?? {};
  rows.set(row, values);
  values[name] = [...(values[name] ?? []), value];
}

async function measureBoot({ emulator, options, measurements, step }: Context, guest: Guest): Promise<void> {
  const { name, command } = emulator;
  options.onProgress(`${step}: boot`);
  let initSeconds: number | undefined;
  const onEvent = (event: GuestEvent, atSeconds: number) => {
    if (event.kind === 'init') initSeconds = atSeconds;
  };
  const wallSeconds = await runGuest(command(guest), { onEvent, signal: options.signal });
  if (initSeconds === undefined) {
    measurements.faults.push(`${name}: the guest powered off before its init ran`);
    return;
  }
  add(measurements, BOOT.rows[0], name, initSeconds);
  add(measurements, BOOT.rows[1], name, wallSeconds);
}

/** @param results what each kernel's result was in the first run; checked in the others */
async function measureKernels(
  { emulator, options, measurements, step }: Context,
  guest: Guest,
  names: readonly string[],
  results: Map<string, string>,
): Promise<void> {
  const { name, command } = emulator;
  options.onProgress(`${step}: boot of the kernels' guest`);
  const kernels = kernelListener(name, measurements, results);
  const onEvent = (event: GuestEvent, atSeconds: number, pid: number) => {
    if (event.kind === 'begin') options.onProgress(`${step}: ${event.kernel}`);
    kernels.onEvent(event, atSeconds, pid);
    if (event.kind !== 'filled') return;
    const mebibytes = residentMebibytes(pid);
    if (mebibytes !== undefined) add(measurements, FOOTPRINT.row, name, mebibytes - guest.memoryMebibytes);
  };
  await runGuest(command(guest), { onEvent, signal: options.signal });
  for (const kernel of names) {
    if (!kernels.done.has(kernel)) measurements.faults.push(`${name}: the guest ended before ${kernel} did`);
  }
  checkClock(name, kernels.clocks, measurements);
}

async function measureIdle({ emulator, options, measurements, step }: Context, guest: Guest): Promise<void> {
  const { name, command } = emulator;
  options.onProgress(`${step}: idle`);
  const onEvent = idleListener((percent) => add(measurements, IDLE.row, name, percent));
  await runGuest(command(guest), { onEvent, signal: options.signal });
}

/** Takes kernels' times by the guest's clock; checks that all runs have the same result. */
function kernelListener(
  name: EmulatorName,
  measurements: Measurements,
  results: Map<string, string>,
): { readonly done: ReadonlySet<string>; readonly clocks: ClockTotals; readonly onEvent: OnEvent } {
  const done = new Set<string>();
  const clocks: ClockTotals = { guestSeconds: 0, hostSeconds: 0 };
  let beginSeconds = 0;
  const onEvent = (event: GuestEvent, atSeconds: number) => {
    if (event.kind === 'begin') beginSeconds = atSeconds;
    if (event.kind === 'failed') {
      done.add(event.kernel);
      measurements.faults.push(`${name}: ${event.kernel} failed with exit code ${event.exitCode}`);
    }
    if (event.kind !== 'end') return;
    const { kernel, nanos, result } = event;
    done.add(kernel);
    clocks.guestSeconds += nanos / 1e9;
    clocks.hostSeconds += atSeconds - beginSeconds;
    const wanted = results.get(kernel) ?? result;
    results.set(kernel, wanted);
    if (result === wanted) add(measurements, kernel, name, nanos / 1e9);
    else measurements.faults.push(`${name}: ${kernel} has the result ${result}, which was ${wanted} in the first run`);
  };
  return { done, clocks, onEvent };
}

/** What the kernels of a run took together. */
interface ClockTotals {
  guestSeconds: number;
  hostSeconds: number;
}

/** A guest whose clock is slow would look fast. */
function checkClock(name: EmulatorName, { guestSeconds, hostSeconds }: ClockTotals, { doubts }: Measurements): void {
  const difference = Math.abs(guestSeconds - hostSeconds);
  if (difference <= CLOCK_TOLERANCE_SECONDS + CLOCK_TOLERANCE * hostSeconds) return;
  const [guest, host] = [guestSeconds, hostSeconds].map((seconds) => `${seconds.toFixed(3)} s`);
  doubts.push(`${name}: the kernels of a run took ${guest} by the guest's clock and ${host} by the host's`);
}

/** Host CPU time over wall time, in percent, between a second after the guest fell asleep and its waking. */
function idleListener(onPercent: (percent: number) => void): OnEvent {
  let timer: NodeJS.Timeout | undefined;
  let start: { readonly seconds: number; readonly cpu: number | undefined } | undefined;
  const wallSeconds = () => performance.now() / 1000;
  return (event, _atSeconds, pid) => {
    if (event.kind === 'idle-begin') {
      timer = setTimeout(() => {
        start = { seconds: wallSeconds(), cpu: cpuSeconds(pid) };
      }, IDLE_SETTLE_MILLIS);
    }
    if (event.kind !== 'idle-end') return;
    clearTimeout(timer);
    const cpu = cpuSeconds(pid);
    if (start?.cpu === undefined || cpu === undefined) return;
    onPercent((100 * (cpu - start.cpu)) / (wallSeconds() - start.seconds));
  };
}
