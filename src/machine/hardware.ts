/** What a machine is made of, as snapshots and migration say it. */
import { UserError } from '../base/index.ts';
import type { DeviceRecord, DeviceValue } from '../contract/index.ts';
import { damaged, type RamView } from '../migration/index.ts';
import type { MachineConfig } from './config.ts';
import type { Machine } from './machine.ts';

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
}: MachineConfig): DeviceRecord {
  return {
    memoryBytes,
    cpu,
    cpus,
    kernelIrqchip,
    disks: disks.map(({ bus, media, readOnly, serial, queues, slot }) =>
      plain({ bus, media, readOnly, serial, queues, slot }),
    ),
    networks: networks.map(({ mac, queues, slot }) => plain({ mac, queues, slot })),
    ...(rng ? { rng: plain({ slot: rng.slot }) } : {}),
    ...(balloon ? { balloon: plain({ slot: balloon.slot }) } : {}),
    ...(vsock ? { vsock: plain({ guestCid: vsock.guestCid }) } : {}),
  };
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
