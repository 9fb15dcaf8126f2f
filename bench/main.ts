/** `npm run bench`: Vireo and QEMU's translator on the same guest, and v86 on one like it, in one table. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseSize, UserError } from '../src/base/index.ts';
import { describeOptions, type OptionValues, parseOptions, suggestion, UsageError } from '../src/cli/options.ts';
import { buildInitramfs } from '../src/host/node/guest/initramfs.ts';
import { type DefaultGuest, defaultGuest } from '../src/host/node/index.ts';
import { type Architecture, busybox32, kernel32, perl } from './debian.ts';
import { type Emulator, type Guest, qemu, v86, vireo } from './emulators.ts';
import { allNames, type Selection, select } from './groups.ts';
import { bootImage, compileKernels, idleImage, kernelsImage, kernelVersion } from './guest-image.ts';
import { type Guests, type Measurements, measure } from './measure.ts';
import { profile } from './profile.ts';
import { renderTable, summarize } from './report.ts';

const OPTIONS = {
  runs: { value: 'N', help: 'runs of each emulator; the table has the medians (default 3)' },
  only: { value: 'NAMES', help: 'measure these alone: groups and kernels, with commas between' },
  scale: { value: 'X', help: "multiply the kernels' sizes (default 1)" },
  alone: { help: 'measure Vireo only, without QEMU' },
  v86: { help: 'compare with v86 too: the same programs, built for 32 bits' },
  cpu: { value: 'MODEL', help: 'CPU model of the guest in both emulators (default max)' },
  memory: { value: 'SIZE', help: 'memory of the guest, e.g. 1G (default 512M)' },
  json: { help: 'print everything that was measured as JSON instead of the table' },
  profile: { help: "count the instructions that Vireo's interpreter runs instead of measuring times" },
  help: { short: 'h', help: 'this text' },
} as const;

const HELP = `Usage: npm run bench -- [options]

Boots the default guest in Vireo and in qemu-system-x86_64 -accel tcg by turns,
runs the same programs in it, and prints the medians of their times.
Ratios are the other's time over Vireo's: above 1, Vireo is faster.

${describeOptions(OPTIONS)}
Groups and kernels: ${allNames().join(', ')}
`;

type Options = OptionValues<typeof OPTIONS>;

const INTERRUPTED = 130;

/** Returns the exit code: 1 when a kernel failed or its results differ. */
async function bench(args: readonly string[], signal: AbortSignal): Promise<number> {
  const options = parseOptions(OPTIONS, args);
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const settings = settingsOf(options);
  const emulators = [
    vireo(await packageVersion(PACKAGE)),
    ...(options.alone || options.profile ? [] : [qemu()]),
    ...(options.v86 && !options.profile ? [v86(await packageVersion(import.meta.resolve('v86/package.json')))] : []),
  ];
  const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
  try {
    showProgress('compiling the kernels');
    const parts = await guestParts(folder, settings);
    const guest = parts.system;
    if (options.profile) {
      await runProfile(folder, parts, settings, signal);
      return 0;
    }
    const guests = {
      amd64: await writeGuests(folder, parts, settings),
      i386: options.v86 ? await writeGuests(folder, await guestParts32(folder, settings), settings) : undefined,
    };
    const { runs } = settings;
    const measurements = await measure({ emulators, guests, runs, signal, onProgress: showProgress });
    showProgress('');
    print(aboutText(emulators, guest, settings), measurements, options.json === true);
    return measurements.faults.length === 0 ? 0 : 1;
  } finally {
    showProgress('');
    await rm(folder, { recursive: true, force: true });
  }
}

interface Settings {
  readonly selection: Selection;
  readonly runs: number;
  readonly cpu: string;
  readonly memoryMebibytes: number;
}

function settingsOf({ runs = '3', only, scale = '1', cpu = 'max', memory = '512M' }: Options): Settings {
  if (!/^[1-9]\d{0,2}$/.test(runs)) throw new UsageError(`--runs ${runs} is not a number from 1 to 999`);
  const factor = Number(scale);
  if (!(factor > 0 && factor <= 1000)) throw new UsageError(`--scale ${scale} is not a number above 0 and up to 1000`);
  const names = only?.split(',').map((name) => name.trim());
  for (const name of names ?? []) {
    if (!allNames().includes(name)) {
      throw new UsageError(`there is no group or kernel "${name}"${suggestion(name, allNames())}`);
    }
  }
  const memoryMebibytes = parseSize(memory, 'M') / 1024 ** 2;
  return { selection: select(names, factor), runs: Number(runs), cpu, memoryMebibytes };
}

/** What guests of an architecture are made of. */
interface GuestParts {
  readonly architecture: Architecture;
  readonly system: DefaultGuest;
  /** The kernels, an executable. */
  readonly program: Uint8Array;
  readonly perl?: Uint8Array;
  readonly selection: Selection;
}

async function guestParts(folder: string, { selection }: Settings): Promise<GuestParts> {
  const program = await compileKernels(folder);
  const system = await defaultGuest({ onProgress: showProgress });
  return { architecture: 'amd64', system, program, perl: await perlFor('amd64', selection), selection };
}

/** The default guest's like for a 32-bit CPU: the same init, with a kernel that has no cloud edition. */
async function guestParts32(folder: string, { selection: whole }: Settings): Promise<GuestParts> {
  const selection = { ...whole, idle: false, footprint: false, kernels: whole.kernels.filter(({ only64 }) => !only64) };
  const program = await compileKernels(folder, 'i386');
  showProgress('getting the 32-bit guest');
  const system = {
    kernel: await kernel32(),
    initramfs: buildInitramfs(await busybox32(), []),
    commandLine: (await defaultGuest()).commandLine,
  };
  return { architecture: 'i386', system, program, perl: await perlFor('i386', selection), selection };
}

async function perlFor(architecture: Architecture, { kernels }: Selection): Promise<Uint8Array | undefined> {
  return kernels.some(({ name }) => name === 'perl') ? perl(architecture) : undefined;
}

/** The guests that the selection needs, as files. */
async function writeGuests(
  folder: string,
  { architecture, system, program, perl, selection }: GuestParts,
  { cpu, memoryMebibytes }: Settings,
): Promise<Guests> {
  const { kernel, initramfs, commandLine } = system;
  const kernelPath = join(folder, `vmlinuz-${architecture}`);
  await writeFile(kernelPath, kernel);
  const write = async (name: string, initrd: Uint8Array): Promise<Guest> => {
    const initrdPath = join(folder, `${architecture}-${name}`);
    await writeFile(initrdPath, initrd);
    return { kernelPath, initrdPath, commandLine, memoryMebibytes, cpu };
  };
  const hasKernels = selection.kernels.length > 0 || selection.footprint;
  return {
    boot: selection.boot ? await write('boot.cpio', bootImage(initramfs)) : undefined,
    kernels: hasKernels ? await write('kernels.cpio', kernelsImage(initramfs, program, perl, selection)) : undefined,
    idle: selection.idle ? await write('idle.cpio', idleImage(initramfs)) : undefined,
    kernelNames: selection.kernels.map(({ name }) => name),
  };
}

async function runProfile(
  folder: string,
  { system, program, perl, selection }: GuestParts,
  { cpu, memoryMebibytes }: Settings,
  signal: AbortSignal,
): Promise<void> {
  showProgress('running the guest under the sampler');
  const { kernel, initramfs, commandLine } = system;
  const boot = {
    kernel,
    initrd: kernelsImage(initramfs, program, perl, { ...selection, footprint: false }),
    commandLine,
  };
  const options = { memoryBytes: memoryMebibytes * 1024 ** 2, cpu, boot };
  const text = await profile(options, join(folder, 'profile'), signal);
  showProgress('');
  process.stdout.write(text);
}

/** What was measured and on what, in one line. */
function aboutText(emulators: readonly Emulator[], { kernel }: DefaultGuest, settings: Settings): string {
  const { runs, cpu, memoryMebibytes } = settings;
  const processors = cpus();
  return [
    `${emulators.map(({ title }) => title).join(' against ')}, medians of ${runs} run${runs === 1 ? '' : 's'} by turns`,
    `host: ${processors.length} × ${processors[0]?.model.trim() ?? process.arch}`,
    `guest: Linux ${kernelVersion(kernel)}, 1 CPU ${cpu}, ${memoryMebibytes} MiB`,
  ].join('; ');
}

function print(about: string, measurements: Measurements, asJson: boolean): void {
  const { faults, doubts } = measurements;
  const groups = summarize(measurements);
  if (asJson) process.stdout.write(`${JSON.stringify({ about, groups, faults, doubts }, undefined, 2)}\n`);
  else process.stdout.write(`${about}\n\n${renderTable(groups)}`);
  for (const line of [...faults, ...doubts.map((doubt) => `doubtful: ${doubt}`)]) {
    process.stderr.write(`vireo bench: ${line}\n`);
  }
}

/** One line that the next replaces; nothing where nobody watches. */
function showProgress(step: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${step === '' ? '' : `vireo bench: ${step}`}`);
}

const PACKAGE = new URL('../package.json', import.meta.url);

/** @param file URL of a package.json */
async function packageVersion(file: string | URL): Promise<string> {
  const text = await readFile(new URL(file), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

const interruption = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interruption.abort());
try {
  process.exitCode = await bench(process.argv.slice(2), interruption.signal);
} catch (error) {
  if (interruption.signal.aborted) {
    process.exitCode = INTERRUPTED;
  } else if (error instanceof UserError) {
    process.stderr.write(`vireo bench: ${error.message}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  } else throw error;
}
