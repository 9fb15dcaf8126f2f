/** From a command line to one typed configuration. */
import { UserError } from '../../base/index.ts';
import type { MachineActions } from '../../machine/index.ts';
import { addDevice, addNicOption, addVirtfs, type Draft, devicePart, readFsdev, readNetdev } from './build-devices.ts';
import { readChardev, readLine } from './char-line.ts';
import type { CommandLine, GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import type { ChardevConfig, MonitorConfig, ObjectConfig, SmpConfig, SystemConfig } from './config.ts';
import { MACHINES, type MachineSpec } from './devices.ts';
import { addDrive, readBlockdev } from './disks.ts';
import { readHostMemory } from './host-memory.ts';
import { readLogItems } from './log-items.ts';
import { readObject } from './object-option.ts';
import { ParamReader, type Params } from './opts.ts';
import type { OptionName } from './table.ts';
import { readAcpiTable, readFwCfg, readSmbios } from './tables.ts';
import { parseUuid } from './values.ts';

const MIB = 1024 * 1024;
const DEFAULT_MEMORY_MIB = 128;
const SERIAL_PORTS = 4;

/** What the program can do, which the command line is checked against. */
export interface Abilities {
  readonly accelerators: readonly string[];
  /** CPUs that a machine can have. */
  readonly cpusMax: number;
}

/** Options by name, those that merge as one list of parameters. */
class Given {
  readonly #options: readonly GivenOption[];

  constructor({ options }: CommandLine) {
    this.#options = options;
  }

  all(...names: readonly OptionName[]): GivenOption[] {
    return this.#options.filter(({ name }) => names.includes(name));
  }

  has(name: OptionName): boolean {
    return this.#options.some((option) => option.name === name);
  }

  value(name: OptionName): string | undefined {
    return this.all(name).at(-1)?.value;
  }

  /** The parameters of every option of this name, read as one. */
  merged<T>(name: OptionName, read: (params: ParamReader) => T): T {
    const options = this.all(name);
    const written = options.at(-1)?.written ?? `-${name}`;
    return forOption({ written }, () => read(new ParamReader(options.flatMap(({ params }) => params))));
  }
}

/** @throws UserError that names the option that is wrong, and what would be right */
export function buildConfig(line: CommandLine, abilities: Abilities): SystemConfig {
  const given = new Given(line);
  const machine = given.merged('machine', readMachine);
  const warnings: string[] = [];
  for (const text of given.all('parallel', 'display', 'vga', 'vnc', 'net')) requireNone(text);
  forEachOption(given.all('usb'), () => {
    throw new UserError('there is no USB yet');
  });
  checkProcessOptions(given, warnings);
  const objects = given.all('object').map((option) => forOption(option, () => readObject(option.params)));
  const chardevs: ChardevConfig[] = given
    .all('chardev')
    .map((option) => forOption(option, () => readChardev(option.params)));
  const lines = readLines(given, machine.spec, chardevs);
  const gdb = readGdb(given, machine.spec, chardevs);
  const draft = draftOf(line, machine.spec, objects, lines.serial, warnings);
  addDevices(given, draft);
  const ids = chardevs.map(({ id }) => id);
  const double = ids.find((id, index) => ids.indexOf(id) < index);
  if (double !== undefined) throw new UserError(`Duplicate ID '${double}' for chardev`);
  for (const id of [...draft.serial, ...lines.monitors.map(({ chardev }) => chardev)]) {
    if (id !== undefined && !ids.includes(id)) throw new UserError(`chardev "${id}" not found`);
  }
  return {
    ...devicePart(draft),
    name: given.merged('name', (params) => params.text('guest')),
    uuid: given.has('uuid') ? forOption(given.all('uuid')[0], () => parseUuid(given.value('uuid')!)) : undefined,
    machine: machine.spec.name,
    accelerators: readAccelerators(given, machine.accel, abilities),
    ...hostPart(given, machine, objects),
    cpu: given.value('cpu') ?? 'max',
    smp: given.merged('smp', (params) => readSmp(params, abilities, machine.spec.name)),
    memoryBytes: given.merged('m', (params) => readMemory(params, machine.memoryBackend, objects)),
    ...readBoot(given, machine.spec),
    chardevs,
    monitors: lines.monitors,
    serial: draft.serial,
    objects,
    fdsets: given.all('add-fd').map((option) => forOption(option, () => readFdset(option.params))),
    ...readTables(given),
    gdb,
    startPaused: given.has('S'),
    ...(given.has('loadvm') ? { loadVm: given.value('loadvm')! } : {}),
    ...(given.has('incoming') ? { incoming: given.value('incoming')! } : {}),
    noReboot: given.has('no-reboot'),
    actions: readActions(given),
    pidFile: given.value('pidfile'),
    daemonize: given.has('daemonize'),
    logFile: given.value('D'),
    logItems: given.all('d').flatMap((option) => forOption(option, () => readLogItems(option.value))),
    ...(given.has('runas') ? { runAs: given.value('runas')! } : {}),
    timestamps: given.merged('msg', (params) => params.switch('timestamp')) ?? false,
    warnings,
  };
}

function forEachOption(options: readonly GivenOption[], work: (option: GivenOption) => void): void {
  for (const option of options) forOption(option, () => work(option));
}

/** The chardev on which gdb may connect. */
function readGdb(given: Given, machine: MachineSpec, chardevs: ChardevConfig[]): string | undefined {
  const text = given.value('gdb') ?? (given.has('s') ? 'tcp::1234' : undefined);
  if (text === undefined || text === 'none') return undefined;
  return forOption(given.all('gdb', 's')[0], () => {
    if (machine.pciBus === undefined) throw new UserError(`machine ${machine.name} has nothing to debug`);
    const isSocket = /^(tcp|unix):/.test(text) && !/,server/.test(text);
    const read = readLine(isSocket ? `${text},server=on,wait=off` : text, 'gdb');
    if (read?.kind === 'new') chardevs.push(read.config);
    return read?.kind === 'new' ? 'gdb' : read?.id;
  });
}

function requireNone(option: GivenOption): void {
  forOption(option, () => {
    const [what] = option.value.split(',', 1);
    if (what !== 'none') throw new UserError(`'${what}' is not supported, only none`);
  });
}

/** What concerns the host's side of the machine: only what was said. */
function hostPart(
  given: Given,
  { kernelIrqchip, memMerge, memoryBackend }: ReturnType<typeof readMachine>,
  objects: readonly ObjectConfig[],
): Pick<SystemConfig, 'kernelIrqchip' | 'ram'> {
  const memLock = given.merged('overcommit', (params) => params.switch('mem-lock'));
  const backend = memoryBackend === undefined ? undefined : objects.find(({ id }) => id === memoryBackend);
  const ram = readHostMemory({ backend, memMerge, memLock: memLock || undefined });
  return {
    ...(kernelIrqchip === undefined ? {} : { kernelIrqchip: readKernelIrqchip(kernelIrqchip) }),
    ...(ram === undefined ? {} : { ram }),
  };
}

function readKernelIrqchip(text: string): SystemConfig['kernelIrqchip'] {
  if (text === 'on' || text === 'off' || text === 'split') return text;
  throw new UserError(`-machine kernel_irqchip=${text}: it can be on, off or split`);
}

function readMachine(params: ParamReader) {
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

function readAccelerators(given: Given, fromMachine: string | undefined, abilities: Abilities): string[] {
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

function readSmp(params: ParamReader, { cpusMax }: Abilities, machine: string): SmpConfig {
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

function readMemory(params: ParamReader, backend: string | undefined, objects: readonly ObjectConfig[]): number {
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

function readBoot(given: Given, machine: MachineSpec): Pick<SystemConfig, 'kernel' | 'initrd' | 'append'> {
  given.merged('boot', (params) => params.accept('menu', 'off', 'no', 'false'));
  const [kernel, initrd, append] = (['kernel', 'initrd', 'append'] as const).map((name) => given.value(name));
  if (machine.pciBus !== undefined && kernel === undefined) {
    throw new UserError('-kernel is needed: there is no firmware yet that would boot from a disk');
  }
  return { kernel, initrd, append };
}

function readActions(given: Given): Partial<MachineActions> {
  const actions = given.merged('action', (params) => {
    return {
      reboot: params.oneOf('reboot', ['reset', 'shutdown']),
      shutdown: params.oneOf('shutdown', ['poweroff', 'pause']),
      panic: params.oneOf('panic', PANIC_ACTIONS),
      watchdog: params.oneOf('watchdog', WATCHDOG_ACTIONS),
    };
  });
  const watchdog = given.has('watchdog-action')
    ? forOption(given.all('watchdog-action')[0], () => {
        const params: Params = [['action', given.value('watchdog-action')!]];
        return new ParamReader(params).oneOf('action', WATCHDOG_ACTIONS);
      })
    : undefined;
  const pauses = given.has('no-shutdown') || actions.shutdown === 'pause';
  return {
    powerOff: pauses ? 'pause' : 'end',
    reboot: actions.reboot === 'shutdown' ? 'power-off' : 'reset',
    tripleFault: 'reset',
    deadGuest: 'ignore',
    panic: panicAction(actions.panic ?? 'shutdown'),
    watchdog: watchdogAction(watchdog ?? actions.watchdog ?? 'reset'),
  };
}

/** By QEMU's names. */
export const PANIC_ACTIONS = ['pause', 'shutdown', 'exit-failure', 'none'] as const;
export const WATCHDOG_ACTIONS = ['reset', 'shutdown', 'poweroff', 'pause', 'debug', 'none', 'inject-nmi'] as const;

export function panicAction(name: (typeof PANIC_ACTIONS)[number]): MachineActions['panic'] {
  return ({ shutdown: 'end', 'exit-failure': 'fail', pause: 'pause', none: 'none' } as const)[name];
}

export function watchdogAction(name: (typeof WATCHDOG_ACTIONS)[number]): MachineActions['watchdog'] {
  return name === 'poweroff' ? 'power-off' : name === 'inject-nmi' ? 'nmi' : name;
}

function readTables(given: Given): Pick<SystemConfig, 'fwCfg' | 'smbios' | 'acpiTables'> {
  const options = (name: 'fw_cfg' | 'smbios' | 'acpitable') => given.all(name);
  return {
    fwCfg: options('fw_cfg').map((option) => forOption(option, () => readFwCfg(option.params))),
    smbios: readSmbios(options('smbios')),
    acpiTables: options('acpitable').map((option) => forOption(option, () => readAcpiTable(option.params))),
  };
}

function readFdset(params: Params) {
  const reader = new ParamReader(params);
  const [fd, set] = [reader.number('fd'), reader.number('set')];
  if (fd === undefined || set === undefined) throw new UserError('fd and set are needed');
  if (fd <= 2) throw new UserError('fd cannot be used: it is standard input, output or error');
  return { fd, set, opaque: reader.text('opaque') };
}

function checkProcessOptions(given: Given, warnings: string[]): void {
  given.merged('rtc', (params) => {
    params.accept('base', 'utc');
    params.accept('clock', 'host');
    params.accept('driftfix', 'none', 'slew');
  });
  given.merged('overcommit', (params) => {
    params.accept('cpu-pm', 'off', 'no', 'false');
  });
  given.merged('compat', (params) => {
    for (const name of ['deprecated-input', 'deprecated-output', 'unstable-input', 'unstable-output']) {
      params.accept(name, 'accept');
    }
  });
  given.merged('sandbox', (params) => {
    if (params.switch('enable'))
      warnings.push('-sandbox on: the process does not confine itself; confine it from outside');
  });
  forEachOption(given.all('audiodev'), ({ params }) => new ParamReader(params).accept('driver', 'none'));
}

function draftOf(
  { globals }: CommandLine,
  machine: MachineSpec,
  objects: readonly ObjectConfig[],
  serial: (string | undefined)[],
  warnings: string[],
): Draft {
  const objectIds = new Map(objects.map(({ id, type }) => [id, type]));
  if (objectIds.size < objects.length) throw new UserError('two -object have the same id');
  return {
    machine,
    globals,
    nodes: [],
    drives: [],
    netdevs: [],
    devices: [],
    disks: [],
    others: [],
    consolePorts: [],
    nics: [],
    fsdevs: [],
    shares: [],
    serial,
    objectIds,
    warnings,
  };
}

/** Content first, whatever the order on the command line; then devices in their order. */
function addDevices(given: Given, draft: Draft): void {
  const discs = { count: 0 };
  forEachOption(given.all('blockdev'), ({ params }) => draft.nodes.push(readBlockdev(draft, params)));
  forEachOption(given.all('netdev'), ({ params }) => {
    const netdev = readNetdev(params);
    if (draft.netdevs.some(({ id }) => id === netdev.id)) throw new UserError(`Duplicate ID '${netdev.id}' for netdev`);
    draft.netdevs.push(netdev);
  });
  forEachOption(given.all('fsdev'), ({ params }) => draft.fsdevs.push(readFsdev(params)));
  const isTemporary = given.has('snapshot');
  for (const option of given.all('drive')) addDrive(draft, option, discs, isTemporary);
  for (const { written, value } of given.all('hda'))
    addDrive(
      draft,
      {
        written,
        params: [
          ['file', value],
          ['if', 'virtio'],
        ],
      },
      discs,
      isTemporary,
    );
  for (const { written, value } of given.all('cdrom')) {
    addDrive(
      draft,
      {
        written,
        params: [
          ['file', value],
          ['if', 'scsi'],
          ['media', 'cdrom'],
        ],
      },
      discs,
      isTemporary,
    );
  }
  const nics = given.all('nic').filter(({ value }) => value !== 'none');
  for (const option of nics) addNicOption(draft, option);
  for (const option of given.all('virtfs')) addVirtfs(draft, option);
  for (const option of given.all('device')) addDevice(draft, option);
  const wantsDefault = !given.has('nodefaults') && !given.has('nic') && !given.has('net') && !given.has('netdev');
  if (wantsDefault && draft.nics.length === 0 && draft.machine.pciBus !== undefined) {
    addNicOption(draft, { written: 'the default network card', params: [['type', 'user']] });
  }
}

/** Serial ports and monitors, the default ones too; chardevs that they make are added. */
function readLines(given: Given, machine: MachineSpec, chardevs: ChardevConfig[]) {
  const monitors: MonitorConfig[] = [];
  const onTerminal = given.has('nographic') && !given.has('daemonize');
  const defaults = !given.has('nodefaults');
  const use = (line: string, id: string): string | undefined => {
    const read = readLine(line, id);
    if (read?.kind !== 'new') return read?.id;
    // Lines on the one terminal share it.
    const shared = chardevs.find(({ backend, mux }) => backend.kind === 'stdio' && mux);
    if (read.config.backend.kind === 'stdio' && shared !== undefined && read.config.mux) return shared.id;
    chardevs.push(read.config);
    return id;
  };
  const addMonitor = (chardev: string | undefined, mode: MonitorConfig['mode'], pretty = false) => {
    if (chardev !== undefined) monitors.push({ chardev, mode, pretty });
  };
  const serial: (string | undefined)[] = new Array(SERIAL_PORTS).fill(undefined);
  const asked = given.all('serial');
  if (asked.length > SERIAL_PORTS) throw new UserError(`-serial: there are ${SERIAL_PORTS} serial ports`);
  for (const [index, option] of asked.entries()) {
    forOption(option, () => {
      serial[index] = use(option.value, `serial${index}`);
      if (option.value.startsWith('mon:')) addMonitor(serial[index], 'readline');
    });
  }
  const monitorsAsked = given.has('monitor') || given.has('mon');
  const hasSerialDevice = given
    .all('device')
    .some(({ params }) => params.some(([k, v]) => k === 'driver' && v === 'isa-serial'));
  if (machine.pciBus !== undefined && defaults && asked.length === 0 && !hasSerialDevice) {
    serial[0] = use(onTerminal ? (monitorsAsked ? 'stdio' : 'mon:stdio') : 'null', 'serial0');
    if (onTerminal && !monitorsAsked) addMonitor(serial[0], 'readline');
  } else if (onTerminal && !monitorsAsked && defaults && !asked.some(({ value }) => value.includes('stdio'))) {
    addMonitor(use('stdio', 'compat_monitor0'), 'readline');
  }
  const kinds = { monitor: ['readline', false], qmp: ['control', false], 'qmp-pretty': ['control', true] } as const;
  for (const [index, option] of given.all('monitor', 'qmp', 'qmp-pretty').entries()) {
    const [mode, pretty] = kinds[option.name as keyof typeof kinds];
    forOption(option, () => addMonitor(use(option.value, `compat_monitor${index}`), mode, pretty));
  }
  forEachOption(given.all('mon'), ({ params }) => {
    const reader = new ParamReader(params);
    addMonitor(
      reader.required('chardev'),
      reader.oneOf('mode', ['readline', 'control']) ?? 'readline',
      reader.switch('pretty'),
    );
  });
  return { monitors, serial };
}
