/** Guests for the system tests: Debian's kernel, busybox, more files, and a script to run inside. */
import { type CpioEntry, writeCpio } from '../../src/base/index.ts';
import { createMachine } from '../../src/cli/create-machine.ts';
import { runExec } from '../../src/cli/exec.ts';
import { type DefaultGuest, defaultGuest, READY_TEXT, withExec } from '../../src/host/node/index.ts';
import type { Machine, MachineExit, MachineOptions } from '../../src/machine/index.ts';

export interface GuestOptions {
  /** A bzImage; the default guest's without it. */
  readonly kernel?: Uint8Array;
  /** More files beside busybox. */
  readonly files?: readonly CpioEntry[];
  /** A whole archive of more files. */
  readonly archive?: Uint8Array;
  /** CPU model by QEMU's name; the machine's default without it. */
  readonly cpu?: string;
  readonly memoryBytes?: number;
  readonly cpus?: number;
  /** Which of Debian's kernels and its modules; default `cloud`. */
  readonly guestKernel?: 'cloud' | 'generic';
  /** Added to the kernel's command line. */
  readonly append?: string;
  /** The machine's devices, and what else it is made of. */
  readonly machine?: Partial<MachineOptions>;
  /** Called with the machine before it starts. */
  readonly onMachine?: (machine: Machine) => void;
  /** How long the guest may take in all. */
  readonly timeoutMillis?: number;
}

export interface GuestResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const DEFAULT_MEMORY_BYTES = 512 * 1024 ** 2;
const DEFAULT_TIMEOUT_MILLIS = 200_000;
/** Of the console, for a failure's message. */
const CONSOLE_TAIL_LENGTH = 4000;

/** The default guest, or why this computer has none: a reason to skip. */
export async function tryDefaultGuest(guestKernel?: 'cloud' | 'generic'): Promise<DefaultGuest | string> {
  return defaultGuest({ guestKernel }).catch((error: Error) => error.message);
}

/** Boots the guest, runs `script` with busybox's shell, and waits for the power-off. */
export async function runInGuest(script: string, options: GuestOptions = {}): Promise<GuestResult> {
  const guest = await defaultGuest({ guestKernel: options.guestKernel });
  const archives = [guest.initramfs, options.archive ?? new Uint8Array(0), writeCpio(options.files ?? [])];
  const machine = await createMachine({
    memoryBytes: options.memoryBytes ?? DEFAULT_MEMORY_BYTES,
    cpu: options.cpu,
    cpus: options.cpus,
    accel: ['tcg'],
    boot: {
      kernel: options.kernel ?? guest.kernel,
      initrd: withExec(new Uint8Array(Buffer.concat(archives)), script),
      commandLine: `${guest.commandLine} ${options.append ?? ''}`.trimEnd(),
    },
    noReboot: true,
    ...options.machine,
  });
  options.onMachine?.(machine);
  const console = collect(machine, 0);
  const [stdout, stderr]: [Uint8Array[], Uint8Array[]] = [[], []];
  const timeout = setTimeout(() => machine.stop(), options.timeoutMillis ?? DEFAULT_TIMEOUT_MILLIS);
  try {
    const exitCode = await runExec(
      machine,
      (bytes) => void stdout.push(bytes),
      (bytes) => void stderr.push(bytes),
    );
    return { exitCode, stdout: textOf(stdout), stderr: textOf(stderr) };
  } catch (error) {
    const printed = `${textOf(stdout)}${textOf(stderr)}${textOf(console)}`.slice(-CONSOLE_TAIL_LENGTH);
    throw new Error(`the guest did not end well; it printed last:\n${printed}`, { cause: error });
  } finally {
    clearTimeout(timeout);
    await machine.stop();
  }
}

export interface BootOptions {
  readonly kernel?: Uint8Array;
  readonly cpu?: string;
  readonly memoryBytes?: number;
  readonly commandLine: string;
  /** Typed at the console. */
  readonly input: string;
}

/** Boots the default guest's initramfs, types when its shell is there, and waits until the machine ends. */
export async function runToEnd(options: BootOptions): Promise<{ exit: MachineExit; console: string }> {
  const guest = await defaultGuest();
  const { kernel = guest.kernel, memoryBytes = DEFAULT_MEMORY_BYTES, cpu, commandLine, input } = options;
  const boot = { kernel, initrd: guest.initramfs, commandLine };
  await using machine = await createMachine({ memoryBytes, cpu, accel: ['tcg'], boot });
  const timeout = setTimeout(() => machine.stop(), DEFAULT_TIMEOUT_MILLIS);
  const [{ readable, writable }] = machine.serial;
  const keyboard = writable.getWriter();
  await machine.start();
  let console = '';
  let typed: Promise<void> | undefined;
  for await (const bytes of readable) {
    console += Buffer.from(bytes).toString('latin1');
    if (console.includes(READY_TEXT)) typed ??= keyboard.write(new TextEncoder().encode(input)).catch(() => {});
  }
  await typed;
  clearTimeout(timeout);
  return { exit: await machine.exited, console: console.replaceAll('\r', '') };
}

/** All that a serial port prints from now on. */
function collect(machine: Machine, port: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  void (async () => {
    for await (const bytes of machine.serial[port].readable) parts.push(bytes);
  })();
  return parts;
}

function textOf(parts: readonly Uint8Array[]): string {
  return Buffer.concat(parts).toString();
}
