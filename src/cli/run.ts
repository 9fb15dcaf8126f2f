/** `vireo run`: one machine on the terminal. */
import { resolve } from 'node:path';
import { parseSize, UserError } from '../base/index.ts';
import type { ThreadHost } from '../contract/index.ts';
import type { DefaultGuestOptions } from '../host/node/index.ts';
import { READY_TEXT } from '../host/node/machine.ts';
import {
  type BootOptions,
  KVM_MEMORY_MAX_BYTES,
  type Machine,
  type MachineExit,
  type MachineOptions,
  MEMORY_MAX_BYTES,
  MEMORY_MIN_BYTES,
} from '../machine/index.ts';
import { ACCEL_OPTIONS, accelOptions } from './accel-option.ts';
import { type Channel, parseChannels, serveChannels } from './channels.ts';
import { createMachine, restoreMachine } from './create-machine.ts';
import { createExecMachine, DEFAULT_MEMORY_BYTES, guestKernelFor, runExec } from './exec.ts';
import { readUserFile } from './files.ts';
import { CHANNEL_VALUE, DISK_VALUE, NET_VALUE } from './option-values.ts';
import { describeOptions, type OptionValues, parseOptions, UsageError } from './options.ts';
import { BRIDGE_VALUE, parseBridge, parseInput, parseVirtioMode } from './pci-option.ts';
import { PlainText } from './plain-text.ts';
import { parseShares, SHARE_VALUE } from './share-option.ts';
import { LAST_LINE, readSnapshot } from './snapshot-file.ts';
import { runOnTerminal, write } from './terminal.ts';
import { parseVsock, VSOCK_VALUE } from './vsock-option.ts';

export const RUN_OPTIONS = {
  kernel: { value: 'FILE', help: "boot this: a Linux bzImage, a PVH ELF or a multiboot kernel (default: Debian's)" },
  initrd: { value: 'FILE', help: "the kernel's initial RAM disk (default guest: busybox)" },
  append: { value: 'STRING', help: "the kernel's command line; with the default guest, added to its own" },
  memory: { value: 'SIZE', short: 'm', help: "the guest's memory, e.g. 256M or 2G; digits alone are M (default 512M)" },
  cpu: { value: 'MODEL', help: 'the CPU model, named as QEMU names it (default max)' },
  ...ACCEL_OPTIONS,
  disk: { value: DISK_VALUE, repeats: true, help: 'a virtio disk; several make several' },
  cdrom: { value: 'FILE', repeats: true, help: 'a disc in a SCSI drive' },
  net: { value: NET_VALUE, repeats: true, help: 'a virtio network card; several make several' },
  bridge: { value: BRIDGE_VALUE, repeats: true, help: 'a PCI bus behind another, for devices with behind=NAME' },
  channel: { value: CHANNEL_VALUE, repeats: true, help: "the guest's /dev/virtio-ports/NAME as a unix socket at PATH" },
  'virtio-console': {
    value: 'PATH',
    repeats: true,
    help: 'a virtio terminal, hvc0 and so on, as a unix socket at PATH',
  },
  balloon: { help: 'a memory balloon: what the guest gives up, and what is free in it, goes back to this computer' },
  input: { value: 'KIND', repeats: true, help: 'a virtio keyboard, mouse or tablet' },
  virtio: { value: 'MODE', help: 'interfaces of virtio devices: modern (default), transitional or legacy' },
  share: { value: SHARE_VALUE, repeats: true, help: 'a folder of the host; the default guest has it at /mnt/TAG' },
  'from-snapshot': { value: 'FILE', help: 'go on where vireo snapshot left off; give its disks and networks again' },
  vsock: { value: VSOCK_VALUE, help: "streams to and from the guest's sockets, as unix sockets at PATH" },
  exec: { value: 'COMMAND', help: 'run this in the default guest, print its output, exit with its exit code' },
  stats: { help: 'at the end, print on standard error what the software CPU has counted' },
  help: { short: 'h', help: 'this text' },
} as const;

export const RUN_SUMMARY = 'boot a machine; its serial console is this terminal';

const HELP = `Usage: vireo run [options]

Boots a machine with its serial console on this terminal: the default guest
(Debian's cloud kernel and busybox), or what --kernel and --initrd give.
On a terminal, Ctrl-A x quits and Ctrl-A h helps; Ctrl-C goes to the guest.

${describeOptions(RUN_OPTIONS)}`;

/** @returns the exit code */
export async function runCommand(args: readonly string[], threads?: ThreadHost): Promise<number> {
  const options = parseOptions(RUN_OPTIONS, args);
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { accel } = accelOptions(options);
  const memoryBytes = memoryOf(options.memory, accel);
  if (options.cpu !== undefined) await checkCpu(options.cpu);
  const to = { memoryBytes, threads };
  return options.exec === undefined ? runInteractive(options, to) : runOne(options, options.exec, to);
}

export type RunOptions = OptionValues<typeof RUN_OPTIONS>;

interface Run {
  readonly memoryBytes: number;
  readonly threads: ThreadHost | undefined;
}

export type Devices = Pick<
  MachineOptions,
  'disks' | 'networks' | 'shares' | 'vsock' | 'console' | 'input' | 'balloon' | 'bridges' | 'virtio'
>;

function channelsOf(options: RunOptions): Channel[] {
  return parseChannels(options['virtio-console'] ?? [], options.channel ?? []);
}

/** What reads disks and networks is loaded where there are some. */
export async function devicesOf(options: RunOptions): Promise<Devices> {
  const { disk = [], cdrom = [], net = [], share = [], vsock, input = [], bridge = [], virtio } = options;
  const ports = channelsOf(options).map(({ port }) => port);
  const discs = cdrom.map((path) => ({ file: resolve(path), format: 'raw', readOnly: true, media: 'cdrom' }) as const);
  const disks = disk.length > 0 ? disk.map((await import('./disk-option.ts')).parseDisk) : [];
  return {
    disks: [...disks, ...discs],
    networks: net.length > 0 ? net.map((await import('./network-option.ts')).parseNetwork) : [],
    shares: parseShares(share),
    vsock: vsock === undefined ? undefined : parseVsock(vsock),
    console: ports.length > 0 ? { ports } : undefined,
    input: input.map(parseInput),
    balloon: options.balloon ? { freePageReporting: true } : undefined,
    bridges: bridge.map(parseBridge),
    virtio: virtio === undefined ? undefined : parseVirtioMode('--virtio', virtio),
  };
}

export function memoryOf(text: string | undefined, accel?: MachineOptions['accel']): number {
  if (text === undefined) return DEFAULT_MEMORY_BYTES;
  const most = accel?.every((name) => name === 'tcg') ? MEMORY_MAX_BYTES : KVM_MEMORY_MAX_BYTES;
  const [min, max] = [MEMORY_MIN_BYTES, most].map((bytes) => `${bytes / 1024 ** 2}M`);
  const bytes = asUsage('--memory', () => parseSize(text, 'M'));
  if (bytes >= MEMORY_MIN_BYTES && bytes <= most) return bytes;
  throw new UsageError(`--memory ${text} is out of range: it goes from ${min} to ${max}`);
}

/** Complains before a machine is made; the instruction tables are loaded here only when there is something to check. */
export async function checkCpu(model: string): Promise<void> {
  const { resolveModel } = await import('../target/index.ts');
  asUsage('--cpu', () => resolveModel(model));
}

/** What is wrong with an option's value is wrong with the command line. */
function asUsage<Value>(option: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (error instanceof UserError) throw new UsageError(`${option}: ${error.message}`);
    throw error;
  }
}

/** Steps of a long preparation, for a person who watches. */
const progress: DefaultGuestOptions = {
  onProgress(step) {
    if (process.stderr.isTTY) process.stderr.write(`vireo: ${step}\n`);
  },
};

async function runOne(options: RunOptions, command: string, { memoryBytes, threads }: Run): Promise<number> {
  if (options['from-snapshot'] !== undefined) throw new UsageError('--exec does not go with --from-snapshot');
  if (options.initrd !== undefined) throw new UsageError("--exec needs the default guest's initrd, not --initrd");
  if (options.append !== undefined) throw new UsageError('--exec does not go with --append');
  const devices = await devicesOf(options);
  const kernel = options.kernel === undefined ? undefined : await readUserFile('kernel', options.kernel, memoryBytes);
  const machine = await createExecMachine(
    command,
    { ...progress, memoryBytes, cpu: options.cpu, kernel, ...accelOptions(options), ...devices },
    threads,
  );
  sayAccelerator(machine);
  await serveChannels(machine, channelsOf(options));
  const exitCode = await runExec(
    machine,
    (bytes) => write(process.stdout, bytes),
    (bytes) => write(process.stderr, bytes),
  );
  if (options.stats) await printStatistics(machine);
  return exitCode;
}

/** A line for each figure. */
async function printStatistics(machine: Machine): Promise<void> {
  const { statistics = {} } = await machine.exited;
  const figures = Object.entries(statistics);
  const width = Math.max(...figures.map(([name]) => name.length));
  const lines = figures.map(([name, value]) => `vireo: ${name.padEnd(width)} ${Math.round(value)}\n`);
  await write(process.stderr, Buffer.from(lines.join('') || 'vireo: this accelerator does not count\n'));
}

/** Which accelerator it is and why, where a person watches and there was a choice. */
function sayAccelerator({ accelerator }: Machine): void {
  if (accelerator.note !== undefined && process.stderr.isTTY) process.stderr.write(`vireo: ${accelerator.note}\n`);
}

async function runInteractive(options: RunOptions, { memoryBytes, threads }: Run): Promise<number> {
  const snapshot = options['from-snapshot'];
  if (snapshot !== undefined) return runSnapshot(options, snapshot, threads);
  const isDefaultGuest = options.kernel === undefined && options.initrd === undefined;
  const devices = await devicesOf(options);
  const boot = await bootOptions(options, memoryBytes, devices);
  const machine = await createMachine(
    { memoryBytes, cpu: options.cpu, boot, ...accelOptions(options), ...devices },
    threads,
  );
  sayAccelerator(machine);
  await serveChannels(machine, channelsOf(options));
  await runOnTerminal(machine, { readyText: isDefaultGuest ? READY_TEXT : undefined });
  if (options.stats) await printStatistics(machine);
  return exitCodeOf(machine);
}

async function runSnapshot(options: RunOptions, path: string, threads: ThreadHost | undefined): Promise<number> {
  for (const name of ['kernel', 'initrd', 'append', 'memory', 'cpu', 'share'] as const) {
    if (options[name] !== undefined)
      throw new UsageError(`--${name} does not go with --from-snapshot, which has its own`);
  }
  const devices = await devicesOf(options);
  const machine = await readSnapshot(path, (source) =>
    restoreMachine(source, { ...devices, accel: accelOptions(options).accel }, threads),
  );
  // What the guest printed last, without the questions that it asked its terminal.
  await write(process.stdout, new PlainText().feed(Buffer.from(machine.notes[LAST_LINE] ?? '', 'latin1')));
  await serveChannels(machine, channelsOf(options));
  await runOnTerminal(machine, { readyText: '' });
  return exitCodeOf(machine);
}

/** What to boot: a file for each part that is given, and the default guest's parts when no kernel is. */
export async function bootOptions(
  { kernel, initrd, append }: RunOptions,
  memoryBytes: number,
  { shares }: Devices,
  variables = terminalVariables(),
): Promise<BootOptions> {
  const guestKernel = guestKernelFor(shares);
  const guest = kernel === undefined ? await loadDefaultGuest({ ...progress, guestKernel }) : undefined;
  const files = {
    kernel: kernel === undefined ? undefined : await readUserFile('kernel', kernel, memoryBytes),
    initrd: initrd === undefined ? undefined : await readUserFile('initrd', initrd, memoryBytes),
  };
  if (guest === undefined) return { kernel: files.kernel!, initrd: files.initrd, commandLine: append };
  const commandLine = [guest.commandLine, ...variables, append ?? ''].join(' ').trimEnd();
  return { kernel: guest.kernel, initrd: files.initrd ?? guest.initramfs, commandLine };
}

const loadDefaultGuest = async (options: DefaultGuestOptions) =>
  (await import('../host/node/index.ts')).defaultGuest(options);

/** Linux makes environment variables of init from words with an equals sign that it does not know. */
function terminalVariables(): string[] {
  const { columns, rows, isTTY } = process.stdout;
  const term = /^[\w.+-]{1,32}$/.exec(process.env.TERM ?? '')?.[0] ?? 'vt220';
  return [
    `TERM=${isTTY ? term : 'dumb'}`,
    // A terminal that does not know its size says 0.
    ...(isTTY && columns > 0 && rows > 0 ? [`COLUMNS=${columns}`, `LINES=${rows}`] : []),
    ...(process.stdin.isTTY ? [] : ['VIREO_INPUT=pipe']),
  ];
}

async function exitCodeOf(machine: Machine): Promise<number> {
  const exit: MachineExit = await machine.exited;
  switch (exit.reason) {
    case 'poweroff':
    case 'reset':
    case 'stopped':
      return 0;
    case 'debug-exit':
      return exit.code ?? 0;
    case 'shutdown':
    case 'halted':
    case 'panic':
    case 'error':
      throw new UserError(exit.message);
  }
}
