/** From a process's start to its guest's first instruction, and what the process takes then: Vireo and QEMU's microvm. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bzImage } from '../../src/hw/testing/kernels.ts';

export interface Start {
  /** From the process's start to the first byte that the guest writes to its serial port. */
  readonly millis: number;
  /** Resident memory of the process then; the guest touched a page or two. */
  readonly residentMib: number;
}

/** mov dx, 3f8h; mov al, 'k'; out dx, al; jmp to itself: the same bytes in 32- and 64-bit code, and a prefix more in 16-bit. */
const PRINT = [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x6b, 0xee, 0xeb, 0xfe];
const PRINT_16 = [0xba, 0xf8, 0x03, 0xb0, 0x6b, 0xee, 0xeb, 0xfe];
/** As bin/launch.mjs begins. */
const START = `require('node:module').enableCompileCache(process.env.VIREO_BENCH_CACHE);
import(require('node:url').pathToFileURL(process.argv[1]).href)`;
const ROM_BYTES = 64 * 1024;

/**
 * The built program, as a user of the package runs it: Node keeps what it compiled in the first of several starts.
 * @param cache a folder for that
 */
export function vireoStart(cache: string): Promise<Start> {
  const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  return withFile(bzImage(Uint8Array.from(PRINT)), (kernel) =>
    firstByte(
      process.execPath,
      ['-e', START, main, 'run', '--accel', 'kvm', '--memory', '64M', '--kernel', kernel],
      cache,
    ),
  );
}

/** Its guest begins at the reset vector of a ROM, with no firmware before it. */
export function qemuStart(): Promise<Start> {
  const rom = new Uint8Array(ROM_BYTES);
  rom.set(PRINT_16, ROM_BYTES - 16);
  return withFile(rom, (bios) =>
    firstByte('qemu-system-x86_64', [
      ...['-accel', 'kvm', '-machine', 'microvm,isa-serial=on', '-m', '64', '-bios', bios],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio'],
    ]),
  );
}

async function withFile(bytes: Uint8Array, use: (path: string) => Promise<Start>): Promise<Start> {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-bench-'));
  try {
    const path = join(folder, 'guest');
    writeFileSync(path, bytes);
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function firstByte(program: string, args: readonly string[], cache = ''): Promise<Start> {
  const start = performance.now();
  const env = { ...process.env, VIREO_BENCH_CACHE: cache };
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const ended = new Promise<never>((_, reject) => {
      child.on('error', reject);
      child.on('exit', (code) => reject(new Error(`${program} ended with code ${code} before its guest wrote`)));
    });
    await Promise.race([new Promise((resolve) => child.stdout.once('data', resolve)), ended]);
    const millis = performance.now() - start;
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    return { millis, residentMib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024 };
  } finally {
    child.removeAllListeners('exit').kill('SIGKILL');
  }
}
