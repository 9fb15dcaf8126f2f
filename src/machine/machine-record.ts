/** The state of a machine that stands still, as one record: its clock, its devices, its CPUs. RAM is apart. */
import { StateError } from '../base/index.ts';
import type { Device, DeviceRecord, Vcpu } from '../contract/index.ts';
import type { VirtualClock } from './clock.ts';

/** All CPUs, to be saved and restored. */
export interface SavedCpus {
  readonly count: number;
  snapshot(): DeviceRecord[];
  /** One record a CPU. Throws a StateError naming the field that does not fit. */
  restore(records: readonly DeviceRecord[]): void;
}

export interface MachineParts {
  readonly clock: VirtualClock;
  /** In the order of restoring. */
  readonly devices: readonly Device[];
  readonly cpus: SavedCpus;
}

/** Nothing may be in flight, and the clock stands still. */
export function saveMachineRecord({ clock, devices, cpus }: MachineParts): DeviceRecord {
  return {
    clockNanos: clock.nowNanos(),
    devices: Object.fromEntries(devices.map((device) => [device.name, device.snapshot()])),
    cpus: cpus.snapshot(),
  };
}

/**
 * Into a machine of the same hardware that has not run.
 * @throws UserError naming the device and the field that do not fit
 */
export function loadMachineRecord({ clock, devices, cpus: target }: MachineParts, record: DeviceRecord): void {
  const { clockNanos, devices: records, cpus } = record;
  if (typeof clockNanos !== 'number' || !(clockNanos >= 0)) throw new StateError('clockNanos', 'a time', clockNanos);
  if (!isRecord(records)) throw new StateError('devices', 'a record', records);
  const names = new Set(devices.map(({ name }) => name));
  const strange = Object.keys(records).find((name) => !names.has(name));
  if (strange !== undefined) throw new StateError(`devices.${strange}`, 'absent: the machine has no such device', {});
  if (!Array.isArray(cpus) || cpus.length !== target.count || !cpus.every(isRecord)) {
    throw new StateError('cpus', `a list of ${target.count}`, cpus);
  }
  clock.set(clockNanos);
  for (const device of devices) loadPart(device, `devices.${device.name}`, records[device.name]);
  target.restore(cpus);
}

/** CPUs that run in slices. */
export function savedCpus(vcpus: readonly Vcpu[]): SavedCpus {
  return {
    count: vcpus.length,
    snapshot: () => vcpus.map((vcpu) => vcpu.snapshot()),
    restore(records) {
      for (const [index, vcpu] of vcpus.entries()) loadPart(vcpu, `cpus[${index}]`, records[index]);
    },
  };
}

function loadPart(part: Pick<Device, 'restore'>, path: string, record: unknown): void {
  if (!isRecord(record)) throw new StateError(path, 'a record', record);
  try {
    part.restore(record);
  } catch (error) {
    if (error instanceof StateError) throw error.within(path);
    throw error;
  }
}

function isRecord(value: unknown): value is DeviceRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
