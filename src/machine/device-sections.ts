/** A machine's record as one section a device, and back. */
import { UserError } from '../base/index.ts';
import type { DeviceRecord, DeviceValue } from '../contract/index.ts';
import { type DeviceSection, damaged, type SnapshotReader } from '../migration/index.ts';
import { recordAt } from './hardware.ts';

/** Of every device's record; a device whose record changes takes its older records too (`added` in base/state.ts). */
const RECORD_VERSION = 1;
const CLOCK = 'clock';
const CPU = /^cpu\[(\d+)\]$/;

/** @param record as saveMachineRecord makes it */
export function deviceSections({ clockNanos, devices, cpus }: DeviceRecord): DeviceSection[] {
  const section = (name: string, record: DeviceValue): DeviceSection => {
    return { name, version: RECORD_VERSION, record: record as DeviceRecord };
  };
  return [
    section(CLOCK, { nanos: clockNanos }),
    ...Object.entries(devices).map(([name, record]) => section(name, record)),
    ...(cpus as readonly DeviceRecord[]).map((record, index) => section(`cpu[${index}]`, record)),
  ];
}

/** As loadMachineRecord takes it. @throws UserError naming what is missing or newer */
export function machineRecord({ version, state, devices }: Pick<SnapshotReader, 'version' | 'state' | 'devices'>) {
  if (version === 1) return recordAt(state, 'machine');
  const newer = devices.find((device) => device.version > RECORD_VERSION);
  if (newer !== undefined) {
    throw new UserError(
      `${newer.name} was saved by a newer version of Vireo (version ${newer.version}; this one reads ${RECORD_VERSION})`,
    );
  }
  const clock = devices.find(({ name }) => name === CLOCK);
  if (clock?.record.nanos === undefined) throw damaged('its clock, which is missing,');
  const cpus: DeviceRecord[] = [];
  const others: Record<string, DeviceRecord> = {};
  for (const { name, record } of devices) {
    const cpu = CPU.exec(name);
    if (cpu !== null && Number(cpu[1]) === cpus.length) cpus.push(record);
    else if (name !== CLOCK) others[name] = record;
  }
  return { clockNanos: clock.record.nanos, devices: others, cpus };
}
