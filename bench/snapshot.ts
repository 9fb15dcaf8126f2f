/**
 * `npm run bench:snapshot`: how long a guest takes to its prompt from nothing and from a snapshot, to be saved, to be
 * loaded and to be moved to another process, in Vireo and in QEMU's translator, by turns. Times to a prompt are of whole
 * processes, from their start.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../src/base/index.ts';
import { createMachine } from '../src/cli/create-machine.ts';
import { parseOptions, UsageError } from '../src/cli/options.ts';
import { writeSnapshot } from '../src/cli/snapshot-file.ts';
import { defaultGuest, READY_TEXT } from '../src/host/node/index.ts';
import { saveMachine } from '../src/machine/index.ts';
import { median } from './report.ts';
import { type EmulatorRun, measureEmulator } from './snapshot-emulator.ts';

const VIREO = fileURLToPath(new URL('../bin/vireo', import.meta.url));
const VIREO_SYSTEM = fileURLToPath(new URL('../bin/vireo-system-x86_64', import.meta.url));
const QEMU = 'qemu-system-x86_64';
const MEBIBYTES = 512;
const PROMPT = '# ';
const WAIT_MILLIS = 200_000;
const OPTIONS = { runs: { value: 'N', help: 'runs of each emulator; the table has the medians (default 5)' } } as const;

/** A console's text as it comes, and a wait for what is to come. */
class Console {
  readonly child: ChildProcess;
  readonly #started = performance.now();
  #text = '';
  #wake = () => {};

  constructor(program: string, args: readonly string[]) {
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.child.stdout!.on('data', (bytes: Buffer) => {
      this.#text += bytes.toString('latin1');
      this.#wake();
    });
  }

  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  async until(text: string): Promise<void> {
    const deadline = performance.now() + WAIT_MILLIS;
    for (let at = -1; at < 0; at = this.#text.indexOf(text)) {
      if (performance.now() > deadline) throw new UserError(`no "${text}" on the console: ${this.#text.slice(-300)}`);
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#wake = resolve;
        }),
        new Promise((resolve) => setTimeout(resolve, 1000)),
      ]);
    }
    this.#text = this.#text.slice(this.#text.indexOf(text) + text.length);
  }

  type(text: string): void {
    this.child.stdin!.write(text);
  }

  /** Seconds from the process's start to the answer of a command. */
  async answer(): Promise<number> {
    this.type('echo answer-$((40 + 2))\n');
    await this.until('answer-42');
    return this.seconds;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

interface Run extends EmulatorRun {
  /** From nothing to a command's answer. */
  readonly cold: number;
  /** Of an emulator that runs: until the snapshot is on the disk. */
  readonly save: number;
  readonly warm: number;
  readonly mebibytes: number;
}

async function vireo(folder: string, moved: EmulatorRun): Promise<Run> {
  const path = join(folder, 'vireo.snapshot');
  const cold = await answerOf(['run', '--accel', 'tcg']);
  const save = await saveSeconds(path);
  const warm = await answerOf(['run', '--accel', 'tcg', '--from-snapshot', path], false);
  return { ...moved, cold, save, warm, mebibytes: (await stat(path)).size / 1024 ** 2 };
}

/** A booted guest of this process, saved to a file that is on the disk then. */
async function saveSeconds(path: string): Promise<number> {
  const { kernel, initramfs, commandLine } = await defaultGuest();
  const boot = { kernel, initrd: initramfs, commandLine };
  await using machine = await createMachine({ memoryBytes: MEBIBYTES * 1024 ** 2, accel: ['tcg'], boot });
  await machine.start();
  let text = '';
  const reader = machine.serial[0].readable.getReader();
  while (!text.includes(PROMPT, Math.max(0, text.indexOf(READY_TEXT)))) {
    const { value, done } = await reader.read();
    if (done) throw new UserError('the guest ended before its prompt');
    text += Buffer.from(value).toString('latin1');
  }
  const start = performance.now();
  await writeSnapshot(path, saveMachine(machine));
  return (performance.now() - start) / 1000;
}

async function answerOf(args: readonly string[], boots = true): Promise<number> {
  const console = new Console(process.execPath, [VIREO, ...args]);
  if (boots) await console.until(READY_TEXT);
  const seconds = await console.answer();
  await console.end();
  return seconds;
}

async function qemu(
  folder: string,
  kernel: string,
  initrd: string,
  commandLine: string,
  moved: EmulatorRun,
): Promise<Run> {
  const [disk, monitor] = [join(folder, 'state.qcow2'), join(folder, 'monitor')];
  if (spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '64M']).status !== 0) {
    throw new UserError('there is no qemu-img: apt install qemu-utils');
  }
  const args = [
    ...['-accel', 'tcg', '-cpu', 'max', '-m', `${MEBIBYTES}M`, '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', commandLine],
    ...['-serial', 'stdio', '-serial', 'null', '-serial', 'null', '-serial', 'null'],
    ...['-drive', `file=${disk},if=none,format=qcow2`, '-monitor', `unix:${monitor},server=on,wait=off`],
  ];
  const first = new Console(QEMU, args);
  await first.until(READY_TEXT);
  await first.until(PROMPT);
  const cold = await first.answer();
  const start = performance.now();
  await monitorCommand(monitor, 'savevm s');
  const save = (performance.now() - start) / 1000;
  await first.end();
  const second = new Console(QEMU, [...args, '-loadvm', 's']);
  const warm = await second.answer();
  await second.end();
  return { ...moved, cold, save, warm, mebibytes: (await stat(disk)).size / 1024 ** 2 };
}

/** Resolves when the monitor prompts again. */
async function monitorCommand(path: string, command: string): Promise<void> {
  const socket = createConnection(path);
  let text = '';
  let sent = false;
  for await (const bytes of socket) {
    text += String(bytes);
    const prompts = text.split('(qemu) ').length - 1;
    if (!sent && prompts > 0) {
      sent = true;
      text = '';
      socket.write(`${command}\n`);
    } else if (sent && prompts > 0) break;
  }
  socket.destroy();
}

async function main(): Promise<void> {
  const { runs = '5' } = parseOptions(OPTIONS, process.argv.slice(2));
  if (!/^[1-9]\d?$/.test(runs)) throw new UsageError(`--runs ${runs} is not a number from 1 to 99`);
  if (spawnSync(QEMU, ['--version']).status !== 0)
    throw new UserError(`there is no ${QEMU}: apt install qemu-system-x86`);
  const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
  try {
    const guest = await defaultGuest();
    const [kernel, initrd] = [join(folder, 'vmlinuz'), join(folder, 'initrd')];
    await writeFile(kernel, guest.kernel);
    await writeFile(initrd, guest.initramfs);
    const results: Record<'vireo' | 'qemu', Run[]> = { vireo: [], qemu: [] };
    for (let run = 0; run < Number(runs); run++) {
      const common = emulatorArgs(folder, kernel, initrd, guest.commandLine);
      const ours = { program: process.execPath, args: [VIREO_SYSTEM, ...common] };
      results.vireo.push(await vireo(folder, await measureEmulator(folder, `v${run}-`, ours)));
      const theirs = await measureEmulator(folder, `q${run}-`, { program: QEMU, args: common });
      results.qemu.push(await qemu(folder, kernel, initrd, guest.commandLine, theirs));
    }
    print(results);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same for both; each gets a disk of its own to keep its state in. */
function emulatorArgs(folder: string, kernel: string, initrd: string, commandLine: string): string[] {
  const disk = join(folder, 'moved.qcow2');
  if (spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '64M']).status !== 0)
    throw new UserError('there is no qemu-img: apt install qemu-utils');
  return [
    ...['-accel', 'tcg', '-cpu', 'max', '-m', `${MEBIBYTES}M`, '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', commandLine],
    ...['-drive', `file=${disk},if=virtio,format=qcow2`],
  ];
}

const ROWS = [
  ['cold', 'from nothing to an answer', 's'],
  ['save', 'saving', 's'],
  ['warm', 'from the snapshot to an answer', 's'],
  ['mebibytes', 'size of the snapshot', 'MiB'],
  ['savevm', 'savevm into qcow2', 's'],
  ['loadvm', 'loadvm from qcow2', 's'],
  ['downtime', 'migration: downtime', 'ms'],
  ['moved', 'migration: memory a second', 'MiB'],
] as const;

function print({ vireo: ours, qemu: theirs }: Readonly<Record<'vireo' | 'qemu', readonly Run[]>>): void {
  const lines = ROWS.map(([field, name, unit]) => {
    const [a, b] = [ours, theirs].map((all) => median(all.map((run) => run[field]))!);
    const figures = [a, b].map((value) => `${value.toFixed(unit === 's' ? 3 : 0)} ${unit}`.padStart(12));
    // Of speeds, more is better; of everything else, less.
    const ratio = field === 'moved' ? a / b : b / a;
    return `${name.padEnd(32)}${figures.join('')}${ratio.toFixed(2).padStart(10)}`;
  });
  const [cold, warm] = (['cold', 'warm'] as const).map((field) => median(ours.map((run) => run[field]))!);
  process.stdout.write(`${' '.repeat(32)}${'vireo'.padStart(12)}${'qemu'.padStart(12)}${'ratio'.padStart(10)}\n`);
  process.stdout.write(
    `${lines.join('\n')}\nfrom a snapshot over from nothing: ${(warm / cold).toFixed(3)} (target 0.1)\n`,
  );
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`vireo bench: ${error.message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
