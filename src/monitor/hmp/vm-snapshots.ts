/** The human monitor's commands for snapshots of the whole machine. */

import { machineOf } from '../commands/run-state.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { QmpError } from '../qmp/errors.ts';
import type { HmpCommand } from './table.ts';

async function rowsOf(emulator: Emulator) {
  return machineOf(emulator).command('list-vms');
}

/** HMP waits for the end, and saves over what is there. */
function orderOf(name: string) {
  return { name, scope: {}, replaces: true };
}

function nameOf([name]: readonly string[]): string {
  if (name === undefined) throw new QmpError('name is missing');
  return name;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Three digits that matter, as QEMU prints sizes. */
function sizeText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${UNITS[unit]}`;
}

function clockText(nanos: number): string {
  const seconds = Math.floor(nanos / 1e9);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const millis = String(Math.floor(nanos / 1e6) % 1000).padStart(3, '0');
  return `${parts.map((part) => String(part).padStart(2, '0')).join(':')}.${millis}`;
}

function dateText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
}

export const VM_SNAPSHOT_INFO: Readonly<Record<string, HmpCommand>> = {
  snapshots: {
    help: 'the snapshots of the whole machine',
    async run(emulator) {
      const rows = await rowsOf(emulator);
      if (rows.length === 0) return 'There is no snapshot available.\n';
      const line = (id: string, tag: string, size: string, date: string, clock: string, count: string) =>
        `${`${id.padEnd(10)}${tag.padEnd(17)}${size.padStart(8)}${date.padStart(20)}${clock.padStart(13)}${count.padStart(11)}`.trimEnd()}\n`;
      return [
        'List of snapshots present on all disks:\n',
        line('ID', 'TAG', 'VM SIZE', 'DATE', 'VM CLOCK', 'ICOUNT'),
        ...rows.map(({ name, vmStateBytes, dateSeconds, vmClockNanos }) =>
          line('--', name, sizeText(vmStateBytes), dateText(dateSeconds), clockText(vmClockNanos), ''),
        ),
      ].join('');
    },
  },
};

export const VM_SNAPSHOT_HMP: Readonly<Record<string, HmpCommand>> = {
  savevm: {
    args: '[name]',
    help: 'saves the machine into its disks; one of that name goes away',
    async run(emulator, [name]) {
      const millis = emulator.host.nowMillis();
      const stamp = new Date(millis).toISOString().replace(/\D/g, '').slice(0, 14);
      await machineOf(emulator).command('save-vm', orderOf(name ?? `vm-${stamp}`));
      return '';
    },
  },
  loadvm: {
    args: 'name',
    help: 'makes the machine what it was',
    async run(emulator, args) {
      await machineOf(emulator).command('load-vm', orderOf(nameOf(args)));
      return '';
    },
  },
  delvm: {
    args: 'name',
    help: 'deletes a saved machine',
    async run(emulator, args) {
      await machineOf(emulator).command('delete-vm', orderOf(nameOf(args)));
      return '';
    },
  },
};
