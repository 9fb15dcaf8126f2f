/** Runs the emulators by turns and collects what the runs measured. */
import { cpuSeconds, residentMebibytes } from './host-usage.ts';
import type { GuestEvent } from './console-lines.ts';
import type { Emulator, EmulatorName, Guest } from './emulators.ts';
import { BOOT, IDLE, MEMORY, type Selection } from './groups.ts';
import { runGuest } from './guest-run.ts';

export type Values = Partial<Record<EmulatorName, number[]>>;

export interface Measurements {
  /** Seconds, percent or MiB by row and emulator, one value a run. */
  readonly rows: Map<string, Values>;
  /** What went wrong in the guests, one line each. */
  readonly faults: string[];
  /** What makes the figures doubtful, one line each. */
  readonly doubts: string[];
}

export interface MeasureOptions {
  readonly emulators: readonly Emulator[];
  readonly bootGuest: Guest;
  readonly kernelsGuest: Guest;
  readonly selection: Selection;
  readonly runs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (step: string) => void;
}

/** After the idle guest's last kernel, so that what that left behind has settled. */
const IDLE_SETTLE_MILLIS = 1000;
/** How far the guest's clock may be from the host's. */
const CLOCK_TOLERANCE = 0.1;
const CLOCK_TOLERANCE_SECONDS = 0.1;

/** @throws UserError when a run fails as a whole */
export async function measure(options: MeasureOptions): Promise<Measurements> {
  const { emulators, selection, runs } = options;
  const measurements: Measurements = { rows: new Map(), faults: [], doubts: [] };
  const results = new Map<string, string>();
  const hasKernelRun = selection.kernels.length > 0 || selection.idle || selection.memory;
  for (let run = 0; run < runs; run += 1) {
    for (const emulator of emulators) {
      const step = `run ${run + 1} of ${runs}, ${emulator.name}`;
      if (selection.boot) await measureBoot(emulator, options, measurements, step);
      if (hasKernelRun) await measureKernels(emulator, options, measurements, results, step);
    }
  }
  return measurements;
}

function add({ rows }: Measurements, row: string, name: EmulatorName, value: number): void {
  const values = rows.get(row) ?? {};
  rows.set(row, values);
  values[name] = [...(values[name] ?? []), value];
}

async function measureBoot(
  { name, command }: Emulator,
  { bootGuest, signal, onProgress }: MeasureOptions,
  measurements: Measurements,
  step: string,
): Promise<void> {
  onProgress(`${step}: boot`);
  let initSeconds: number | undefined;
  const onEvent = (event: GuestEvent, atSeconds: number) => {
    if (event.kind === 'init') initSeconds = atSeconds;
  };
  const wallSeconds = await runGuest(command(bootGuest), { onEvent, signal });
  if (initSeconds === undefined) {
    measurements.faults.push(`${name}: the guest powered off before its init ran`);
    return;
  }
  add(measurements, BOOT.rows[0], name, initSeconds);
  add(measurements, BOOT.rows[1], name, wallSeconds);
}

async function measureKernels(
  { name, command }: Emulator,
  { kernelsGuest, selection, signal, onProgress }: MeasureOptions,
  measurements: Measurements,
  results: Map<string, string>,
  step: string,
): Promise<void> {
  onProgress(`${step}: boot of the kernels' guest`);
  const done = new Set<string>();
  const onKernelEvent = kernelListener(name, measurements, results, done);
  const onIdleEvent = idleListener((percent) => add(measurements, IDLE.row, name, percent));
  const onEvent = (event: GuestEvent, atSeconds: number, pid: number) => {
    if (event.kind === 'begin') onProgress(`${step}: ${event.kernel}`);
    if (event.kind === 'idle-begin') onProgress(`${step}: idle`);
    if (event.kind === 'filled') {
      const mebibytes = residentMebibytes(pid);
      if (mebibytes !== undefined) add(measurements, MEMORY.row, name, mebibytes - kernelsGuest.memoryMebibytes);
    }
    onKernelEvent(event, atSeconds);
    onIdleEvent(event, pid);
  };
  await runGuest(command(kernelsGuest), { onEvent, signal });
  for (const kernel of selection.kernels) {
    if (!done.has(kernel.name)) measurements.faults.push(`${name}: the guest ended before ${kernel.name} did`);
  }
}

/** Takes kernels' times by the guest's clock; checks that clock, and that all runs have the same result. */
function kernelListener(
  name: EmulatorName,
  measurements: Measurements,
  results: Map<string, string>,
  done: Set<string>,
): (event: GuestEvent, atSeconds: number) => void {
  let beginSeconds = 0;
  return (event, atSeconds) => {
    if (event.kind === 'begin') beginSeconds = atSeconds;
    if (event.kind === 'failed') {
      done.add(event.kernel);
      measurements.faults.push(`${name}: ${event.kernel} failed with exit code ${event.exitCode}`);
    }
    if (event.kind !== 'end') return;
    const { kernel, nanos, result } = event;
    done.add(kernel);
    const wanted = results.get(kernel) ?? result;
    results.set(kernel, wanted);
    if (result !== wanted) {
      measurements.faults.push(`${name}: ${kernel} has the result ${result}, which was ${wanted} in the first run`);
      return;
    }
    const wallSeconds = atSeconds - beginSeconds;
    const difference = Math.abs(wallSeconds - nanos / 1e9);
    if (difference > CLOCK_TOLERANCE_SECONDS + CLOCK_TOLERANCE * wallSeconds) {
      const [guest, host] = [nanos / 1e9, wallSeconds].map((seconds) => `${seconds.toFixed(3)} s`);
      measurements.doubts.push(`${name}: ${kernel} took ${guest} by the guest's clock and ${host} by the host's`);
    }
    add(measurements, kernel, name, nanos / 1e9);
  };
}

function idleListener(onPercent: (percent: number) => void): (event: GuestEvent, pid: number) => void {
  let timer: NodeJS.Timeout | undefined;
  let start: { readonly millis: number; readonly cpu: number | undefined } | undefined;
  return (event, pid) => {
    if (event.kind === 'idle-begin') {
      timer = setTimeout(() => {
        start = { millis: performance.now(), cpu: cpuSeconds(pid) };
      }, IDLE_SETTLE_MILLIS);
    }
    if (event.kind !== 'idle-end') return;
    clearTimeout(timer);
    const end = cpuSeconds(pid);
    if (start?.cpu === undefined || end === undefined) return;
    onPercent(((end - start.cpu) / ((performance.now() - start.millis) / 1000)) * 100);
  };
}
