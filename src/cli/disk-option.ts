/** The value of `--disk`: `FILE[,format=FORMAT][,readonly][,serial=TEXT][,bus=BUS][,queues=NUMBER]` and a place (pci-option.ts); a comma in a name is written twice. */
import { resolve } from 'node:path';
import type { DiskOptions } from '../machine/index.ts';
import { formatNamed } from './open-disk.ts';
import { DISK_VALUE } from './option-values.ts';
import { splitCommas, suggestion, UsageError } from './options.ts';
import { PLACE_NAMES, setPlace } from './pci-option.ts';

const NAMES = ['format', 'readonly', 'serial', 'bus', 'queues', ...PLACE_NAMES];

/** @throws UsageError that names what is wrong */
export function parseDisk(text: string): DiskOptions {
  const [file, ...settings] = splitCommas(text);
  if (file === '') throw new UsageError(`--disk ${text}: the file's name comes first, as in --disk ${DISK_VALUE}`);
  const disk: { -readonly [Name in keyof DiskOptions]: DiskOptions[Name] } = { file: resolve(file) };
  for (const setting of settings) {
    const [, name, , value] = /^([^=]*)(=(.*))?$/s.exec(setting) ?? [];
    if (name === 'readonly' && value === undefined) disk.readOnly = true;
    else if (name === 'format' && value !== undefined) disk.format = checkedFormat(value);
    else if (name === 'serial' && value !== undefined) disk.serial = value;
    else if (name === 'bus' && (value === 'virtio' || value === 'scsi')) disk.bus = value;
    else if (name === 'queues' && value !== undefined && /^\d{1,3}$/.test(value)) disk.queues = Number(value);
    else if (!setPlace(disk, name, value))
      throw new UsageError(`--disk: unknown setting "${setting}"${suggestion(name, NAMES)}`);
  }
  return disk;
}

function checkedFormat(name: string): string {
  try {
    return formatNamed(name).name;
  } catch (error) {
    throw new UsageError(`--disk: ${(error as Error).message}`);
  }
}
