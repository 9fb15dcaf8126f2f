/** A guest that makes machine code while it runs: Node, whose compilers write, patch and throw away code. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nodeLibraries, USERLAND_ROOT } from './debian.ts';
import { runInGuest, tryDefaultGuest } from './guest.ts';

const PROGRAM = fileURLToPath(new URL('../guests/jit.mjs', import.meta.url));
/** The initramfs is in memory twice while the kernel unpacks it. */
const MEMORY_BYTES = 1024 * 1024 ** 2;

const isLinux64 = process.platform === 'linux' && process.arch === 'x64';
const guest = isLinux64 ? await tryDefaultGuest() : 'this Node is not for Linux on x86-64';
// Not inside a test: the first time, getting the packages takes longer than a test may.
const libraries = typeof guest === 'string' ? guest : await nodeLibraries().catch((error: Error) => error.message);
const skip = typeof libraries === 'string' && libraries;

test('Node in the guest prints what it prints here', { skip }, async () => {
  if (typeof libraries === 'string') return;
  const here = spawnSync(process.execPath, [PROGRAM], { encoding: 'utf8' });
  assert.equal(here.status, 0, here.stderr);
  const executable = (path: string, data: Uint8Array) =>
    ({ kind: 'file', path: `${USERLAND_ROOT}${path}`, permissions: 0o755, data }) as const;
  const files = [executable('node', await readFile(process.execPath)), executable('jit.mjs', await readFile(PROGRAM))];
  const { exitCode, stdout, stderr } = await runInGuest(
    'for place in proc dev; do mount --bind /$place /debian/$place; done; chroot /debian /node /jit.mjs',
    { archive: libraries, files, memoryBytes: MEMORY_BYTES },
  );
  assert.deepEqual({ exitCode, stdout, stderr }, { exitCode: 0, stdout: here.stdout, stderr: '' });
});
