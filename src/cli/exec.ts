/** One command in the default guest: the host's side of the protocol that its init speaks. */
import { UserError } from '../base/index.ts';
import type { ThreadHost } from '../contract/index.ts';
import type { DefaultGuestOptions } from '../host/node/index.ts';
import type {
  DiskOptions,
  Machine,
  MachineExit,
  MachineOptions,
  NetworkOptions,
  SerialConsole,
  ShareOptions,
  VsockOptions,
} from '../machine/index.ts';
import { createMachine } from './create-machine.ts';

export interface ExecOptions
  extends DefaultGuestOptions,
    Pick<
      MachineOptions,
      'accel' | 'cpus' | 'ram' | 'kernelIrqchip' | 'console' | 'input' | 'balloon' | 'bridges' | 'virtio'
    > {
  /** RAM of the guest; default `DEFAULT_MEMORY_BYTES`. */
  readonly memoryBytes?: number;
  /** CPU model by QEMU's name. */
  readonly cpu?: string;
  /** A bzImage to use instead of the default guest's. */
  readonly kernel?: Uint8Array;
  /** Virtio disks: vda, vdb and so on. */
  readonly disks?: readonly DiskOptions[];
  /** Virtio network cards: eth0, eth1 and so on, the first set up by DHCP. */
  readonly networks?: readonly NetworkOptions[];
  /** Folders of the host, which the guest finds below /mnt by their tags. */
  readonly shares?: readonly ShareOptions[];
  /** The guest's socket device. */
  readonly vsock?: VsockOptions;
  /** Most bytes of standard output and of standard error to collect; default 64 MiB each. */
  readonly maxOutputBytes?: number;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

export const DEFAULT_MEMORY_BYTES = 512 * 1024 ** 2;
const DEFAULT_MAX_OUTPUT_BYTES = 64 * 1024 ** 2;
/** Of the exit code's line; a guest that sends more there does not speak the protocol. */
const MAX_STATUS_LENGTH = 16;
/** Of what the console says. */
const CONSOLE_KEPT_LENGTH = 4096;

/**
 * Boots the default guest, runs `command` in its shell and powers it off.
 * @throws UserError when there is no guest, when it ends before the command
 *   does, or when the command prints more than `maxOutputBytes`
 */
export async function exec(command: string, options: ExecOptions = {}): Promise<ExecResult> {
  const machine = await createExecMachine(command, options);
  try {
    const limitBytes = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES;
    const [stdout, stderr] = [collector('output', limitBytes), collector('errors', limitBytes)];
    const exitCode = await runExec(machine, stdout.add, stderr.add);
    return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes() };
  } finally {
    await machine.stop();
  }
}

/** Debian's kernel for clouds has no 9P. */
export function guestKernelFor(shares: readonly ShareOptions[] = []): 'cloud' | 'generic' {
  return shares.length > 0 ? 'generic' : 'cloud';
}

/** A machine that will run `command` when it is started with `runExec`. */
export async function createExecMachine(command: string, options: ExecOptions, threads?: ThreadHost): Promise<Machine> {
  const { defaultGuest, withExec } = await import('../host/node/index.ts');
  const {
    memoryBytes = DEFAULT_MEMORY_BYTES,
    cpu,
    cpus,
    accel,
    ram,
    kernelIrqchip,
    kernel,
    disks,
    networks,
    shares,
    vsock,
    console,
    input,
    balloon,
    bridges,
    virtio,
  } = options;
  const guest = await defaultGuest({ ...options, guestKernel: guestKernelFor(shares) });
  const { commandLine, initramfs } = guest;
  const boot = { kernel: kernel ?? guest.kernel, initrd: withExec(initramfs, command), commandLine };
  const machine = {
    memoryBytes,
    cpu,
    cpus,
    accel,
    ram,
    kernelIrqchip,
    boot,
    noReboot: true,
    disks,
    networks,
    shares,
    vsock,
    console,
    input,
    balloon,
    bridges,
    virtio,
  };
  return createMachine(machine, threads);
}

/**
 * Starts the machine and passes on what its command prints, at the pace at which it is taken.
 * @returns the command's exit code
 */
export async function runExec(
  machine: Machine,
  onStdout: (bytes: Uint8Array) => void | Promise<void>,
  onStderr: (bytes: Uint8Array) => void | Promise<void>,
): Promise<number> {
  const [console, stdout, stderr, status] = machine.serial;
  let said = '';
  const listen = (bytes: Uint8Array) => {
    said = (said + Buffer.from(bytes).toString('latin1')).slice(-CONSOLE_KEPT_LENGTH);
  };
  let statusText = '';
  const takeStatus = (bytes: Uint8Array) => {
    statusText = (statusText + String.fromCharCode(...bytes.subarray(0, MAX_STATUS_LENGTH))).slice(
      0,
      MAX_STATUS_LENGTH,
    );
  };
  await Promise.all([
    // Its console may have a reader already.
    ...(console.readable.locked ? [] : [pump(console, listen)]),
    pump(stdout, onStdout),
    pump(stderr, onStderr),
    pump(status, takeStatus),
    machine.start(),
  ]);
  const exit = await machine.exited;
  const line = /^(\d{1,3})\n$/.exec(statusText);
  if (line === null)
    throw new UserError(`the guest ended before the command did: ${exit.message}${lastWords(exit, said)}`);
  return Number(line[1]);
}

/** The last line of the console, where nothing else tells why the guest ended. */
function lastWords({ reason }: MachineExit, said: string): string {
  const last = said
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== '')
    .at(-1);
  return reason === 'panic' || last === undefined ? '' : `; its console said last: ${JSON.stringify(last)}`;
}

async function pump(port: SerialConsole, onBytes: (bytes: Uint8Array) => void | Promise<void>): Promise<void> {
  for await (const bytes of port.readable) await onBytes(bytes);
}

function collector(name: string, limitBytes: number) {
  const parts: Uint8Array[] = [];
  let size = 0;
  return {
    add(bytes: Uint8Array) {
      size += bytes.length;
      if (size > limitBytes) throw new UserError(`the command printed more than ${limitBytes} bytes of ${name}`);
      parts.push(bytes);
    },
    bytes: () => new Uint8Array(Buffer.concat(parts)),
  };
}
