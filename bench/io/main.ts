/** `npm run bench:io`: disks, networks and shared folders against QEMU's translator, and device models alone. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { debianTools, ENTER_TOOLS } from '../../tests/system/debian.ts';
import { type DeviceResult, measureDevices } from './devices.ts';
import { type EmulatorName, ioGuest } from './guest.ts';
import { startIperf } from './iperf.ts';
import { type Outcome, parseOutput, scriptOf, WORKLOADS } from './workloads.ts';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    'warm-up': { type: 'string', default: '0' },
    alone: { type: 'boolean', default: false },
    devices: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(options.seconds);

const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
const outcomes: Partial<Record<EmulatorName, Outcome[][]>> = {};
try {
  if (!options.devices) await runGuests();
  const devices = await measureDevices(Math.min(seconds, 1));
  const rows = outcomes.vireo === undefined ? [] : WORKLOADS.map(rowOf);
  if (options.json) process.stdout.write(`${JSON.stringify({ rows, devices, outcomes }, undefined, 2)}\n`);
  else process.stdout.write(`${tableOf(rows)}\n${devices.map(deviceLine).join('')}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function runGuests(): Promise<void> {
  const tools = await debianTools();
  const iperf = await startIperf(tools);
  try {
    const script = scriptOf({
      seconds,
      warmUpSeconds: Number(options['warm-up']),
      iperfPort: iperf.port,
      enterTools: ENTER_TOOLS,
    });
    const guest = await ioGuest(folder, tools, script);
    const emulators: EmulatorName[] = options.alone ? ['vireo'] : ['vireo', 'qemu'];
    // By turns, so that a change of the host's speed meets both.
    for (let run = 0; run < Number(options.runs); run++) {
      for (const emulator of emulators) {
        const { printed, cpuSeconds } = await guest.run(emulator);
        (outcomes[emulator] ??= []).push(parseOutput(printed, cpuSeconds));
      }
    }
  } finally {
    iperf.close();
  }
}

interface Row {
  readonly name: string;
  readonly unit: string;
  /** Medians of all runs: Vireo, QEMU, Vireo over QEMU. */
  readonly value: Comparison;
  readonly perCpuSecond: Comparison;
}

type Comparison = readonly [vireo: number, qemu: number | undefined, ratio: number | undefined];

function rowOf({ name, unit }: (typeof WORKLOADS)[number], index: number): Row {
  return { name, unit, value: compare(index, 'value'), perCpuSecond: compare(index, 'perCpuSecond') };
}

function compare(index: number, field: keyof Outcome): Comparison {
  const median = (emulator: EmulatorName) => {
    const sorted = outcomes[emulator]?.map((run) => run[index][field]).sort((a, b) => a - b);
    return sorted?.[sorted.length >> 1];
  };
  const [vireo, qemu] = [median('vireo') ?? Number.NaN, median('qemu')];
  return [vireo, qemu, qemu && vireo / qemu];
}

function tableOf(rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const cell = (text: string) => text.padStart(9);
  const cells = ([vireo, qemu, ratio]: Comparison) =>
    [vireo.toFixed(0), qemu?.toFixed(0) ?? '-', ratio?.toFixed(2) ?? '-'].map(cell).join('');
  const names = ['Vireo', 'QEMU', 'ratio'].map(cell).join('');
  const head = `${''.padEnd(34)}${names}${'  for each CPU second:'}${names}`;
  const line = ({ name, unit, value, perCpuSecond }: Row) =>
    `${name.padEnd(34)}${cells(value)}  ${unit.padEnd(20)}${cells(perCpuSecond)}`;
  return [head, ...rows.map(line), ''].join('\n');
}

function deviceLine({ name, perSecond, cpuMicrosEach }: DeviceResult): string {
  return `${name.padEnd(46)} ${String(Math.round(perSecond)).padStart(8)}/s ${cpuMicrosEach.toFixed(1).padStart(8)} µs of CPU each\n`;
}
