/** Machines to and from snapshots, on the side of whoever made them. */
import { InternalError, UserError } from '../base/index.ts';
import type { DeviceRecord, DeviceValue, ThreadHost } from '../contract/index.ts';
import { damaged, SnapshotReader, scannerOf, snapshotBytes } from '../migration/index.ts';
import { type BootOptions, checkOptions, type MachineConfig, type MachineOptions } from './config.ts';
import { deviceSections, machineRecord } from './device-sections.ts';
import { hardwareOf, plain, ramOf, recordAt } from './hardware.ts';
import { createMachineFrom, type Machine } from './machine.ts';

/**
 * What a restored machine is connected to. Its hardware is the snapshot's; what the devices lead to is not in
 * the snapshot, so that a snapshot cannot name files of the host: as many disks and network cards must be given as the
 * machine had, in the same order.
 */
export type RestoreOptions = Pick<MachineOptions, 'disks' | 'networks' | 'vsock' | 'actions' | 'noReboot'> & {
  /** Who executes it from here on; default: who did before. Its CPU model must be one that this accelerator has, too. */
  readonly accel?: MachineOptions['accel'];
};

/**
 * The machine as a snapshot. It stands still from the first piece to the last, and goes on then if it ran.
 * The disks' contents are not in it.
 * @param notes what the maker of the snapshot wants to find in the restored machine's `notes`
 * Pieces may be views of the guest's memory: use each before asking for the next.
 */
export async function* saveMachine(
  machine: Machine,
  notes: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array, void> {
  const { config, memory } = machine;
  const ran = machine.state === 'running';
  await machine.command('pause');
  try {
    const { kernel, initrd, commandLine } = config.boot;
    const state = {
      hardware: { ...hardwareOf(config), ...plain({ accel: machine.accelerator.name }) },
      boot: { hasInitrd: initrd !== undefined, ...(commandLine === undefined ? {} : { commandLine }) },
      notes,
    };
    const devices = deviceSections(await machine.command('save-state'));
    yield* snapshotBytes({ state, blobs: initrd === undefined ? [kernel] : [kernel, initrd], memory, devices });
  } finally {
    if (ran) await machine.command('resume');
  }
}

/** A snapshot in pieces, or one that fills what it is given with its next bytes: the guest's memory without a copy. */
export type SnapshotSource =
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | {
      /** @returns how many bytes there were, at most the target's; 0 at the end */
      readInto(target: Uint8Array): number;
      /**
       * Only of a snapshot that is known to be whole: makes the next bytes appear in the pages that hold the target,
       * instead of what was there, for this process alone. False where they must be read.
       */
      mapInto?(target: Uint8Array): boolean;
    };

/**
 * A machine as it was when the snapshot was taken; it stands still until `start`.
 * @throws UserError when the snapshot is damaged, or the options do not give what its devices need
 */
export async function restoreMachineOn(
  threads: ThreadHost,
  threadModule: string,
  source: SnapshotSource,
  options: RestoreOptions = {},
): Promise<Machine> {
  const reader = new SnapshotReader();
  let machine: Machine | undefined;
  try {
    const connect = async () => {
      const config = { ...configOf(reader, options), hasMappedRam: 'mapInto' in source };
      machine = await createMachineFrom(threads, threadModule, config, notesOf(reader.state));
      reader.connectMemory(ramOf(machine), scannerOf(machine.memory).checksum);
    };
    if ('readInto' in source) await readFrom(source, reader, connect);
    else
      for await (const piece of source) {
        const taken = reader.feed(piece);
        if (!reader.isWaitingForMemory) continue;
        await connect();
        reader.feed(piece.subarray(taken));
      }
    reader.end();
    if (machine === undefined) throw new InternalError('a snapshot without a machine');
    await machine.command('load-state', machineRecord(reader));
    await machine.command('take-disks');
    return machine;
  } catch (error) {
    await machine?.stop();
    throw error;
  }
}

async function readFrom(
  source: Extract<SnapshotSource, { readInto: unknown }>,
  reader: SnapshotReader,
  connect: () => Promise<void>,
): Promise<void> {
  while (!reader.isDone) {
    const { target, mappable } = reader;
    if (mappable !== undefined && source.mapInto?.(mappable)) {
      reader.mapped();
      continue;
    }
    const count = source.readInto(target);
    if (count === 0) return;
    reader.filled(count);
    if (reader.isWaitingForMemory) await connect();
  }
}

function notesOf(state: DeviceRecord): Readonly<Record<string, string>> {
  const entries = Object.entries(recordAt(state, 'notes'));
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

/** The snapshot's hardware with the options' files and networks. */
function configOf({ state, blobs }: SnapshotReader, options: RestoreOptions): MachineConfig {
  const hardware = recordAt(state, 'hardware');
  const boot = recordAt(state, 'boot');
  const { memoryBytes, cpu, cpus, accel, kernelIrqchip, rng, balloon, console, input, bridges, virtio } = hardware as {
    [field: string]: never;
  };
  const config = checkOptions({
    ...options,
    memoryBytes,
    cpu,
    cpus,
    accel: options.accel ?? (accel && [accel]),
    kernelIrqchip,
    rng: rng ?? false,
    balloon,
    console,
    input,
    bridges,
    virtio,
    disks: merged(hardware.disks, options.disks ?? [], 'disk'),
    networks: merged(hardware.networks, options.networks ?? [], 'network card'),
    vsock: vsockOf(hardware.vsock, options.vsock),
    boot: bootOf(boot, blobs),
  });
  return { ...config, isIncoming: true };
}

function vsockOf(saved: DeviceValue | undefined, given: RestoreOptions['vsock']): RestoreOptions['vsock'] {
  if (saved === undefined) return undefined;
  if (given === undefined) throw new UserError('the machine of the snapshot has a socket device: give its path');
  return { ...given, ...(saved as object) };
}

/** Each given option with what the snapshot says of its device. */
function merged<T extends object>(saved: DeviceValue, given: readonly T[], what: string): T[] {
  if (!Array.isArray(saved)) throw damaged(`its list of ${what}s`);
  if (saved.length !== given.length) {
    throw new UserError(
      `the machine of the snapshot has ${count(saved.length, what)}: give as many, not ${given.length}`,
    );
  }
  return given.map((option, index) => ({ ...option, ...(saved[index] as object) }));
}

function count(number: number, what: string): string {
  return `${number === 0 ? 'no' : number} ${what}${number === 1 ? '' : 's'}`;
}

function bootOf({ hasInitrd, commandLine }: DeviceRecord, blobs: readonly Uint8Array[]): BootOptions {
  if (blobs.length !== (hasInitrd ? 2 : 1)) throw damaged('the number of its files');
  const [kernel, initrd] = blobs;
  return { kernel, initrd, commandLine: commandLine as string | undefined };
}
