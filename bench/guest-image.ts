/** The guest that is measured: the default guest with the benchmark kernels in its initramfs. */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CpioEntry, UserError, writeCpio } from '../src/base/index.ts';
import { withExec } from '../src/host/node/index.ts';
import type { Architecture } from './debian.ts';
import type { Selection } from './groups.ts';

const SOURCES = fileURLToPath(new URL('guest', import.meta.url));
const PROGRAM = 'bench/kernels';
/** How long an idle guest sleeps; the first second is not measured. */
export const IDLE_SECONDS = 11;

/** Debian's gcc packages for x86-64, on that and on other machines, and whatever `gcc` is. */
const COMPILERS = ['x86_64-linux-gnu-gcc', 'gcc'];
const FLAGS = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror', '-static'];
/** 32 bits with SSE2, which is what v86 is fastest with. */
const FLAGS_32 = ['-m32', '-march=pentium4', '-mfpmath=sse'];
const PACKAGES = { amd64: 'libc6-dev', i386: 'gcc-multilib' } as const;

/**
 * Compiles guest/*.c to one static program.
 * @param folder for the program and the compiler's temporary files
 */
export async function compileKernels(folder: string, architecture: Architecture = 'amd64'): Promise<Uint8Array> {
  const compiler = COMPILERS.find((name) => targetOf(name)?.startsWith('x86_64-') === true);
  if (compiler === undefined)
    throw new UserError('there is no gcc for x86-64 to compile the kernels: apt install gcc libc6-dev');
  const output = join(folder, architecture === 'i386' ? 'kernels32' : 'kernels');
  const sources = globSync('*.c', { cwd: SOURCES }).sort();
  const args = [...FLAGS, ...(architecture === 'i386' ? FLAGS_32 : []), '-o', output, ...sources, '-lm'];
  const { status, stderr } = spawnSync(compiler, args, {
    cwd: SOURCES,
    env: { ...process.env, TMPDIR: folder, LC_ALL: 'C' },
    encoding: 'utf8',
  });
  if (status === 0) return readFile(output);
  const complaint = stderr.split('\n').find((line) => line.includes('error')) ?? stderr.split('\n')[0];
  throw new UserError(
    `${compiler} failed: ${complaint}; if it finds no headers or libc: apt install ${PACKAGES[architecture]}`,
  );
}

function targetOf(compiler: string): string | undefined {
  const { status, stdout } = spawnSync(compiler, ['-dumpmachine'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Its first program says so on the console and powers off. */
export function bootImage(initramfs: Uint8Array): Uint8Array {
  const script = '#!/bin/busybox sh\necho bench init\necho bench done\nexec /bin/busybox poweroff -f\n';
  return withFiles(initramfs, [file('init', Buffer.from(script))]);
}

/** The default guest's own init, which then runs the kernels one after the other, and fills the guest's memory. */
export function kernelsImage(
  initramfs: Uint8Array,
  program: Uint8Array,
  perl: Uint8Array | undefined,
  { kernels, footprint }: Pick<Selection, 'kernels' | 'footprint'>,
): Uint8Array {
  const base = perl === undefined ? initramfs : Buffer.concat([initramfs, perl]);
  const image = withFiles(base, [{ kind: 'directory', path: 'bench', permissions: 0o755 }, file(PROGRAM, program)]);
  const lines = kernels.map(({ name, size }) => `/${PROGRAM} ${name} ${size} || echo bench failed ${name} $?`);
  return withScript(image, [...lines, ...(footprint ? [`/${PROGRAM} fill`] : []), 'echo bench done']);
}

/** The default guest's own init, which then sleeps. */
export function idleImage(initramfs: Uint8Array): Uint8Array {
  return withScript(initramfs, ['echo bench idle-begin', `sleep ${IDLE_SECONDS}`, 'echo bench idle-end']);
}

/** Its console is ttyS0: the one port that `vireo run` and QEMU's `-serial stdio` show alike. */
function withScript(initramfs: Uint8Array, lines: readonly string[]): Uint8Array {
  return withExec(initramfs, ['exec >/dev/ttyS0 2>&1', ...lines].join('\n'));
}

/** Archives joined end to end: later files replace earlier ones. */
function withFiles(initramfs: Uint8Array, entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat([initramfs, writeCpio(entries)]));
}

function file(path: string, data: Uint8Array): CpioEntry {
  return { kind: 'file', path, permissions: 0o755, data };
}

/** A bzImage's version, e.g. `6.1.0-1-cloud-amd64 (Debian 6.1.9-1)` (kernel_version of the Linux/x86 boot protocol). */
export function kernelVersion(kernel: Uint8Array): string {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const at = 0x200 + view.getUint16(0x20e, true);
  const text = Buffer.from(kernel.subarray(at, kernel.indexOf(0, at))).toString('latin1');
  const [, debian] = /\b(Debian \S+)/.exec(text) ?? [];
  return `${text.split(' ')[0]}${debian === undefined ? '' : ` (${debian})`}`;
}
