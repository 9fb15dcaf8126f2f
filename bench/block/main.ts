/** `npm run bench:block`: vireo-img and qemu-img on the same images, in one table. */
import { spawnSync } from 'node:child_process';
import { createReadStream, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSize, UserError } from '../../src/base/index.ts';
import { describeOptions, parseOptions, suggestion, UsageError } from '../../src/cli/options.ts';
import { CASES, type Case, FILES } from './cases.ts';
import { writeDisk } from './data.ts';
import { type CaseResult, renderTable, type Side } from './report.ts';
import { type Outcome, run } from './run.ts';

const OPTIONS = {
  size: { value: 'SIZE', help: 'size of the disk that is copied, e.g. 512M (default 4G)' },
  runs: { value: 'N', help: 'runs of each program; the table has the medians (default 3)' },
  only: { value: 'NAMES', help: 'measure these alone, with commas between; beginnings of names will do' },
  folder: { value: 'PATH', help: 'where the images are made: a real file system (default: the temporary folder)' },
  alone: { help: 'measure vireo-img only' },
  json: { help: 'print everything that was measured as JSON instead of the table' },
  help: { short: 'h', help: 'this text' },
} as const;

const HELP = `Usage: npm run bench:block -- [options]

Runs vireo-img and qemu-img by turns on the same command lines and images, all
of them in the page cache, and prints the medians of their times and the most
memory that each held. Ratios are qemu-img's time over vireo-img's: above 1,
vireo-img is faster.

${describeOptions(OPTIONS)}
Cases: ${CASES.map(({ name }) => name).join('; ')}
`;

const PROGRAMS: Readonly<Record<Side, readonly string[]>> = {
  vireo: [process.execPath, fileURLToPath(new URL('../../bin/vireo-img', import.meta.url))],
  qemu: ['qemu-img'],
};

const INTERRUPTED = 130;

async function bench(args: readonly string[]): Promise<number> {
  const options = parseOptions(OPTIONS, args);
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { size = '4G', runs = '3', folder: parent = tmpdir() } = options;
  if (!/^[1-9]\d?$/.test(runs)) throw new UsageError(`--runs ${runs} is not a number from 1 to 99`);
  const sizeBytes = Math.ceil(parseSize(size, 'M') / 2 ** 20) * 2 ** 20;
  const cases = casesNamed(options.only);
  const sides: readonly Side[] = options.alone ? ['vireo'] : ['vireo', 'qemu'];
  if (spawnSync('qemu-img', ['--version']).status !== 0) {
    throw new UserError('qemu-img is needed, to compare with and to make the images: apt install qemu-utils');
  }
  const folder = await mkdtemp(join(parent, 'vireo-bench-'));
  const stop = () => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(INTERRUPTED);
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    await prepare(folder, sizeBytes, cases);
    const results: CaseResult[] = [];
    for (const one of cases) results.push(await measure(one, sides, Number(runs), folder));
    showProgress('');
    const about = aboutText(sizeBytes, Number(runs), folder);
    const json = () => `${JSON.stringify({ about, results }, null, 2)}\n`;
    process.stdout.write(options.json ? json() : `${about}\n\n${renderTable(results)}`);
    return results.some(({ fault }) => fault !== undefined) ? 1 : 0;
  } finally {
    showProgress('');
    await rm(folder, { recursive: true, force: true });
  }
}

function casesNamed(only: string | undefined): readonly Case[] {
  if (only === undefined) return CASES;
  const names = only.split(',').map((name) => name.trim());
  for (const name of names) {
    if (!CASES.some((one) => one.name.startsWith(name))) {
      const known = CASES.map((one) => one.name);
      throw new UsageError(`there is no case "${name}"${suggestion(name, known)}`);
    }
  }
  return CASES.filter((one) => names.some((name) => one.name.startsWith(name)));
}

async function prepare(folder: string, sizeBytes: number, cases: readonly Case[]): Promise<void> {
  const text = JSON.stringify(cases);
  const qemu = (line: string) => run([...PROGRAMS.qemu, ...line.split(' ')], folder);
  showProgress('writing the disk');
  await writeDisk(join(folder, FILES.raw), sizeBytes);
  await qemu(`convert -O qcow2 ${FILES.raw} ${FILES.qcow2}`);
  await qemu(`create -q -f qcow2 -b ${FILES.qcow2} -F qcow2 ${FILES.overlay}`);
  if (text.includes(FILES.full)) await qemu(`create -q -f qcow2 -o preallocation=metadata ${FILES.full} 256G`);
  if (text.includes(FILES.large)) {
    await qemu(`create -q -f qcow2 ${FILES.large} 1T`);
    const write = ['-f', 'qcow2', '-c', 'write -P 1 0 64k', '-c', 'write -P 2 1023G 64k', FILES.large];
    await run(['qemu-io', ...write], folder);
  }
}

async function measure(one: Case, sides: readonly Side[], runs: number, folder: string): Promise<CaseResult> {
  const { name, needsFormat } = one;
  const result: CaseResult = { name, seconds: {}, peakBytes: {} };
  if (needsFormat !== undefined && !supportedFormats().includes(needsFormat)) {
    return { ...result, skipped: `vireo-img has no format ${needsFormat}` };
  }
  for (let turn = 0; turn < runs; turn += 1) {
    // Who goes first changes: what one run leaves to the next differs.
    for (const side of turn % 2 === 0 ? sides : sides.toReversed()) {
      showProgress(`${name}: ${side}, run ${turn + 1} of ${runs}`);
      try {
        const { seconds, peakBytes } = await runCase(one, side, folder);
        (result.seconds[side] ??= []).push(seconds);
        if (peakBytes !== undefined) (result.peakBytes[side] ??= []).push(peakBytes);
        if (turn === 0) await verify(one, folder);
      } catch (error) {
        return { ...result, fault: error instanceof Error ? error.message : String(error) };
      }
    }
  }
  return result;
}

async function runCase({ line, before, reads, timesItself }: Case, side: Side, folder: string): Promise<Outcome> {
  for (const file of readdirSync(folder)) if (file.startsWith('out')) await rm(join(folder, file));
  if (before !== undefined) await run([...PROGRAMS.qemu, ...before.split(' ')], folder);
  await run(['sync', '-f', folder], folder);
  for (const file of reads) for await (const _ of createReadStream(join(folder, file), { highWaterMark: 2 ** 20 }));
  const outcome = await run([...PROGRAMS[side], ...line.split(' ')], folder);
  if (timesItself !== true) return outcome;
  const [, seconds] = /completed in ([\d.]+) seconds/.exec(outcome.stdout) ?? [];
  if (seconds === undefined) throw new Error(`${line}: it did not say how long it took: ${outcome.stdout}`);
  return { ...outcome, seconds: Number(seconds) };
}

/** What was made must be what it was made from. */
async function verify({ output }: Case, folder: string): Promise<void> {
  if (output === undefined) return;
  const { file, format } = output;
  await run([...PROGRAMS.qemu, 'compare', '-q', '-f', format, '-F', 'raw', file, FILES.raw], folder);
}

function supportedFormats(): string {
  const [program, ...args] = PROGRAMS.vireo;
  const { stdout } = spawnSync(program, [...args, '--help'], { encoding: 'utf8' });
  return /^Supported formats: (.*)$/m.exec(stdout)?.[1] ?? '';
}

function aboutText(sizeBytes: number, runs: number, folder: string): string {
  const processors = cpus();
  const qemu = spawnSync('qemu-img', ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0];
  const stored = statSync(join(folder, FILES.raw)).blocks * 512;
  return [
    `vireo-img against ${qemu}, medians of ${runs} run${runs === 1 ? '' : 's'} by turns`,
    `host: ${processors.length} × ${processors[0]?.model.trim() ?? process.arch}, ${fileSystemOf(folder)}`,
    `disk: ${Math.round(sizeBytes / 2 ** 20)} MiB, ${Math.round(stored / 2 ** 20)} MiB of it stored`,
  ].join('\n');
}

/** The type of the file system that a path is on. */
function fileSystemOf(path: string): string {
  try {
    const rows = readFileSync('/proc/self/mounts', 'utf8').split('\n');
    const mounts = rows.map((row) => row.split(' ')).filter(([, point]) => point && `${path}/`.startsWith(point));
    const nearest = mounts.sort((a, b) => a[1].length - b[1].length).at(-1);
    return nearest?.[2] ?? 'an unknown file system';
  } catch {
    return 'an unknown file system';
  }
}

let shown = false;

function showProgress(text: string): void {
  if (!process.stderr.isTTY || (text === '' && !shown)) return;
  shown = text !== '';
  process.stderr.write(`\r\x1b[K${text}`);
}

try {
  process.exitCode = await bench(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`bench:block: ${error.message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
