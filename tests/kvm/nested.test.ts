/**
 * Whole guests on a true /dev/kvm: the host is a computer that QEMU emulates
 * with AMD's virtualization (SVM), so that these tests run anywhere. What runs
 * there is suite.mjs.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { kvmHostKernel } from '../system/debian.ts';
import { tryDefaultGuest } from '../system/guest.ts';
import { hostImage } from './host-image.ts';

/** QEMU 7.2 does not tell the hypervisor of XSETBV, so that the guest's processor would contradict itself. */
const CPU = 'max,+svm,-xsave';
/** For a host with two CPUs and nothing else to do it is a minute. */
const TIMEOUT_MILLIS = 900_000;
/** A word of the command line that the kernel does not know is a variable of its init. */
const VARIABLES = process.env.VIREO_KVM_LONG === undefined ? '' : ' VIREO_KVM_LONG=1';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const missing = await (async () => {
  if (spawnSync('qemu-system-x86_64', ['--version']).status !== 0) return 'qemu-system-x86_64 is not installed';
  const guest = await tryDefaultGuest();
  return typeof guest === 'string' && guest;
})();

test('guests on a KVM host', { skip: missing, timeout: TIMEOUT_MILLIS }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-kvm-'));
  try {
    build();
    const { kernel, modules } = await kvmHostKernel();
    const [kernelPath, initrdPath] = [join(folder, 'vmlinuz'), join(folder, 'initrd')];
    writeFileSync(kernelPath, kernel);
    writeFileSync(initrdPath, hostImage(modules, readFileSync(new URL('./suite.mjs', import.meta.url))));
    const console = await runEmulator(kernelPath, initrdPath);
    for (const [line] of console.matchAll(/^ok: .*\d ms\)/gm)) t.diagnostic(line);
    assert.match(console, /^suite: all passed\r?$/m, console.slice(-8000));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** The host in the emulator runs what is compiled. */
function build(): void {
  const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [compiler, '-b'], { cwd: ROOT, encoding: 'utf8' });
  assert.equal(status, 0, stdout);
}

/** What the emulated computer prints until it powers off. */
async function runEmulator(kernel: string, initrd: string): Promise<string> {
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg,thread=multi', '-cpu', CPU, '-smp', '2', '-m', '1536', '-machine', 'q35'],
      ...['-nodefaults', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
      ...['-kernel', kernel, '-initrd', initrd],
      ...['-append', `console=ttyS0 mitigations=off nokaslr panic=-1 quiet no_timer_check${VARIABLES}`],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ends = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MILLIS - 10_000);
  try {
    return await text(child.stdout);
  } finally {
    clearTimeout(ends);
  }
}
