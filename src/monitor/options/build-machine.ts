/** What a machine is made of: its kind, accelerators, CPUs and memory. */
import { UserError } from '../../base/index.ts';
import { forOption } from './command-line.ts';
import type { ObjectConfig, SmpConfig } from './config.ts';
import { MACHINES } from './devices.ts';
import type { Given } from './given.ts';
import { ParamReader } from './opts.ts';

const MIB = 1024 * 1024;
const DEFAULT_MEMORY_MIB = 128;

/** What the program can do, which the command line is checked against. */
export interface Abilities {
  readonly accelerators: readonly string[];
  /** CPUs that a machine can have. */
  readonly cpusMax: number;
}

export function readMachine(params: ParamReader) {
  const type = params.text('type') ?? 'pc';
  const family = familyOf(type);
  const spec = MACHINES.find(
    ({ name, alias }) => name === type || alias === type || (family !== undefined && familyOf(name) === family),
  );
  if (spec === undefined) {
    throw new UserError(
      `unsupported machine type: ${type}; there are ${MACHINES.map(({ alias, name }) => alias ?? name).join(', ')}`,
    );
  }
  params.accept('usb', 'off', 'no', 'false');
  params.accept('hpet', 'off', 'no', 'false');
  params.accept('acpi', 'on', 'auto', 'yes', 'true');
  params.accept('vmport', 'off', 'auto');
  params.accept('smm', 'off', 'auto');
  const kernelIrqchip = params.text('kernel-irqchip') ?? params.text('kernel_irqchip');
  const memMerge = params.switch('mem-merge');
  return { spec, accel: params.text('accel'), memoryBackend: params.text('memory-backend'), kernelIrqchip, memMerge };
}

/** `pc-q35-7.2` and `pc-q35-8.2` are one for us: the version says how devices of old behaved, and ours are new. */
function familyOf(name: string): string | undefined {
  return /^(pc-(?:q35|i440fx))-\d+\.\d+$/.exec(name)?.[1];
}

export function readAccelerators(given: Given, fromMachine: string | undefined, abilities: Abilities): string[] {
  const named = given
    .all('accel')
    .map((option) => ({ option, name: new ParamReader(option.params).required('accel') }));
  for (const { option, name } of named) {
    forOption(option, () => checkAccelerator(name));
  }
  const list = [...(given.has('enable-kvm') ? ['kvm'] : []), ...named.map(({ name }) => name)];
  if (fromMachine !== undefined) {
    for (const name of fromMachine.split(':')) {
      checkAccelerator(name);
      list.push(name);
    }
  }
  return list.length === 0 ? [abilities.accelerators.includes('tcg') ? 'tcg' : abilities.accelerators[0]] : list;
}

function checkAccelerator(name: string): void {
  if (name !== 'kvm' && name !== 'tcg') throw new UserError(`invalid accelerator ${name}: there are kvm and tcg`);
}

export function readSmp(params: ParamReader, { cpusMax }: Abilities, machine: string): SmpConfig {
  const count = (name: string) => params.number(name);
  const [sockets, dies, cores, threads] = ['sockets', 'dies', 'cores', 'threads'].map(count);
  params.accept('clusters', '1');
  const product = (sockets ?? 1) * (dies ?? 1) * (cores ?? 1) * (threads ?? 1);
  const cpus = count('cpus') ?? count('maxcpus') ?? product;
  const maxCpus = count('maxcpus') ?? Math.max(cpus, product);
  const rest = { dies: dies ?? 1, cores: cores ?? 1, threads: threads ?? 1 };
  const topology = {
    ...rest,
    sockets: sockets ?? Math.max(1, Math.floor(maxCpus / (rest.dies * rest.cores * rest.threads))),
  };
  if (cpus < 1 || [topology.sockets, dies, cores, threads].some((n) => n === 0)) {
    throw new UserError('CPU topology parameters must be greater than zero');
  }
  if (maxCpus < cpus) throw new UserError(`maxcpus must be equal to or greater than smp`);
  const places = topology.sockets * topology.dies * topology.cores * topology.threads;
  if (places !== maxCpus) {
    throw new UserError(
      `Invalid CPU topology: product of the hierarchy must match maxcpus: sockets (${topology.sockets}) * dies (${topology.dies}) * cores (${topology.cores}) * threads (${topology.threads}) != maxcpus (${maxCpus})`,
    );
  }
  if (maxCpus > cpusMax) {
    throw new UserError(`Invalid SMP CPUs ${maxCpus}. The max CPUs supported by machine '${machine}' is ${cpusMax}`);
  }
  return { cpus, maxCpus, ...topology };
}

export function readMemory(params: ParamReader, backend: string | undefined, objects: readonly ObjectConfig[]): number {
  const found = objects.find(({ id }) => id === backend);
  if (backend !== undefined && !found?.type.startsWith('memory-backend-')) {
    throw new UserError(`memory-backend: there is no -object memory-backend-ram with the id ${backend}`);
  }
  const ofBackend = found?.properties.size as number | undefined;
  const bytes = params.bytes('size', 'M') ?? ofBackend ?? DEFAULT_MEMORY_MIB * MIB;
  if (ofBackend !== undefined && ofBackend !== bytes) {
    throw new UserError(`the memory of ${backend} has ${ofBackend} bytes, and -m says ${bytes}`);
  }
  params.accept('slots', '0');
  const max = params.bytes('maxmem', 'M');
  if (max !== undefined && max !== bytes) throw new UserError('maxmem: memory cannot be plugged in; leave it out');
  // Whole MiB, upwards as QEMU rounds to pages.
  return Math.ceil(bytes / MIB) * MIB;
}
