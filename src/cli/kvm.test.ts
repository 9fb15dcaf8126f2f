/** `vireo run` on /dev/kvm, with guests of a few instructions. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bzImage } from '../hw/testing/kernels.ts';
import { whyNotKvm } from './create-accelerator.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const skip = (await whyNotKvm('kvm')) ?? false;
const PRINT_K = [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x6b, 0xee]; // mov dx, 3f8h; mov al, 'k'; out dx, al
const ENDINGS = { 'a busy guest': [0xeb, 0xfe], 'a sleeping guest': [0xfb, 0xf4, 0xeb, 0xfd] };

for (const [name, code] of Object.entries(ENDINGS)) {
  test(`a process with ${name} ends when it is told to`, { skip }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vireo-kvm-'));
    try {
      const kernel = join(folder, 'kernel');
      writeFileSync(kernel, bzImage(Uint8Array.of(...PRINT_K, ...code)));
      const args = [MAIN, 'run', '--accel', 'kvm', '--smp', '2', '--memory', '64M', '--kernel', kernel];
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      const [first] = await once(child.stdout, 'data');
      assert.equal(String(first), 'k');
      child.kill('SIGTERM');
      const [exitCode] = await once(child, 'exit');
      assert.equal(exitCode, 128 + 15);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
