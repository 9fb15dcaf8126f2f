/** `npm run bench:io`: disks, networks and shared folders against QEMU's translator, and device models alone. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ENTER_TOOLS } from '../../tests/system/debian.ts';
import { type DeviceResult, measureDevices } from './devices.ts';
import { type EmulatorName, ioGuest } from './guest.ts';
import { parseOutput, scriptOf, startPeers, WORKLOADS } from './workloads.ts';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    alone: { type: 'boolean', default: false },
    devices: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(options.seconds);

const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
const peers = await startPeers();
try {
  const values: Partial<Record<EmulatorName, number[][]>> = {};
  if (!options.devices) {
    const guest = await ioGuest(folder, scriptOf({ seconds, enterTools: ENTER_TOOLS, ...peers }));
    const emulators: EmulatorName[] = options.alone ? ['vireo'] : ['vireo', 'qemu'];
    // By turns, so that a change of the host's speed meets both.
    for (let run = 0; run < Number(options.runs); run++) {
      for (const emulator of emulators) (values[emulator] ??= []).push(parseOutput(await guest.run(emulator)));
    }
  }
  const devices = await measureDevices(Math.min(seconds, 1));
  const rows =
    values.vireo === undefined
      ? []
      : WORKLOADS.map(({ name, unit }, index) => {
          const [vireo, qemu] = [medianOf(values.vireo, index)!, medianOf(values.qemu, index)];
          return { name, unit, vireo, qemu, ratio: qemu && vireo / qemu };
        });
  if (options.json) process.stdout.write(`${JSON.stringify({ rows, devices, values }, undefined, 2)}\n`);
  else process.stdout.write(`${tableOf(rows)}\n${devices.map(deviceLine).join('')}`);
} finally {
  peers.close();
  await rm(folder, { recursive: true, force: true });
}

function medianOf(runs: readonly (readonly number[])[] | undefined, index: number): number | undefined {
  const sorted = runs?.map((run) => run[index]).sort((a, b) => a - b);
  return sorted?.[sorted.length >> 1];
}

interface Row {
  readonly name: string;
  readonly unit: string;
  readonly vireo: number;
  readonly qemu: number | undefined;
  readonly ratio: number | undefined;
}

function tableOf(rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const cell = (value: number | undefined, digits: number) => (value?.toFixed(digits) ?? '-').padStart(10);
  const line = ({ name, unit, vireo, qemu, ratio }: Row) =>
    `${name.padEnd(34)} ${cell(vireo, 0)} ${cell(qemu, 0)} ${cell(ratio, 2)}  ${unit}`;
  const head = `${''.padEnd(34)} ${'Vireo'.padStart(10)} ${'QEMU'.padStart(10)} ${'ratio'.padStart(10)}`;
  return [head, ...rows.map(line), ''].join('\n');
}

function deviceLine({ name, perSecond, cpuMicrosEach }: DeviceResult): string {
  return `${name.padEnd(46)} ${String(Math.round(perSecond)).padStart(8)}/s ${cpuMicrosEach.toFixed(1).padStart(8)} µs of CPU each\n`;
}
