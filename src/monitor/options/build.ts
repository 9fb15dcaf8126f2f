/** From a command line to one typed configuration. */
import { UserError } from '../../base/index.ts';
import { readActions } from './build-actions.ts';
import { addDevice, addNicOption, addVirtfs, type Draft, devicePart, readFsdev, readNetdev } from './build-devices.ts';
import { readGdb, readLines } from './build-lines.ts';
import { type Abilities, readAccelerators, readMachine, readMemory, readSmp } from './build-machine.ts';
import { readChardev } from './char-line.ts';
import type { CommandLine, GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import type { ChardevConfig, ObjectConfig, SystemConfig } from './config.ts';
import type { MachineSpec } from './devices.ts';
import { addDrive, readBlockdev } from './disks.ts';
import { forEachOption, Given } from './given.ts';
import { readHostMemory } from './host-memory.ts';
import { readLogItems } from './log-items.ts';
import { readObject } from './object-option.ts';
import { ParamReader, type Params } from './opts.ts';
import { readAcpiTable, readFwCfg, readSmbios } from './tables.ts';
import { parseUuid } from './values.ts';

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

function readBoot(given: Given, machine: MachineSpec): Pick<SystemConfig, 'kernel' | 'initrd' | 'append'> {
  given.merged('boot', (params) => params.accept('menu', 'off', 'no', 'false'));
  const [kernel, initrd, append] = (['kernel', 'initrd', 'append'] as const).map((name) => given.value(name));
  if (machine.pciBus !== undefined && kernel === undefined) {
    throw new UserError('-kernel is needed: there is no firmware yet that would boot from a disk');
  }
  return { kernel, initrd, append };
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
