/** What a machine is made of, as snapshots and migration say it. */
import { UserError } from '../base/index.ts';
import type { DeviceRecord, DeviceValue } from '../contract/index.ts';
import { damaged, type RamView } from '../migration/index.ts';
import type { MachineConfig } from './config.ts';
import type { Machine } from './machine.ts';
import type { BalloonOptions, PciPlace } from './pci-options.ts';

type Plain = { readonly [field: string]: DeviceValue | undefined };

/** What a machine is made of, without what its devices lead to: equal for a machine and its restored self. */
export function hardwareOf({
  memoryBytes,
  cpu,
  cpus,
  kernelIrqchip,
  disks,
  networks,
  rng,
  balloon,
  vsock,
  console,
  input,
  bridges,
  virtio,
  extras,
  firmware,
  pciHotplug,
}: MachineConfig): DeviceRecord {
  return {
    memoryBytes,
    cpu,
    cpus,
    kernelIrqchip,
    disks: disks.map((disk) => {
      const { bus, media, readOnly, serial, queues } = disk;
      return plain({ bus, media, readOnly, serial, queues, ...placeOf(disk) });
    }),
    networks: networks.map((network) => plain({ mac: network.mac, queues: network.queues, ...placeOf(network) })),
    ...(rng ? { rng: plain(placeOf(rng)) } : {}),
    ...(balloon ? { balloon: balloonOf(balloon) } : {}),
    ...(vsock ? { vsock: plain({ guestCid: vsock.guestCid, ...placeOf(vsock) }) } : {}),
    ...(console
      ? { console: { ...plain(placeOf(console)), ports: console.ports.map((port) => plain({ ...port })) } }
      : {}),
    ...(input.length > 0 ? { input: input.map((device) => plain({ kind: device.kind, ...placeOf(device) })) } : {}),
    ...(bridges.length > 0 ? { bridges: bridges.map((bridge) => plain({ ...bridge })) } : {}),
    ...(virtio === 'modern' ? {} : { virtio }),
    ...(extras.length > 0 ? { extras: extras.map((extra) => plain({ ...extra })) } : {}),
    ...(firmware.files?.length ? { firmwareFiles: firmware.files.map(({ name, bytes }) => ({ name, bytes })) } : {}),
    ...(pciHotplug ? { pciHotplug } : {}),
  };
}

function balloonOf(balloon: BalloonOptions): DeviceRecord {
  const { freePageHints, freePageReporting } = balloon;
  return plain({ freePageHints, freePageReporting, ...placeOf(balloon) });
}

function placeOf({ slot, behind, virtio }: PciPlace) {
  return { slot, behind, virtio };
}

export function plain(fields: Plain): DeviceRecord {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as DeviceRecord;
}

/** @throws UserError naming what differs between the machine that is sent and this one */
export function checkSameHardware(theirs: DeviceRecord, ours: DeviceRecord): void {
  for (const name of new Set([...Object.keys(theirs), ...Object.keys(ours)])) {
    const [there, here] = [text(theirs[name]), text(ours[name])];
    if (there !== here) throw new UserError(`the machines differ: ${name} is ${there} there and ${here} here`);
  }
}

function text(value: DeviceValue | undefined): string {
  return value === undefined ? 'absent' : JSON.stringify(value);
}

/** The machine's RAM, to be written to. */
export function ramOf({ memory: { buffer, ranges } }: Pick<Machine, 'memory'>): RamView {
  return (address, length) => {
    const range = ranges.find(({ base, size }) => address >= base && address + length <= base + size);
    return range && new Uint8Array(buffer, range.offset + address - range.base, length);
  };
}

export function recordAt(state: DeviceRecord, name: string): DeviceRecord {
  const value = state[name];
  if (typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array))
    return value as DeviceRecord;
  throw damaged(`its state, which lacks ${name},`);
}
