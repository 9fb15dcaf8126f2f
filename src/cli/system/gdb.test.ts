/** Debian's gdb on a guest of a few instructions. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { bzImage } from '../../hw/testing/kernels.ts';
import { whyNotKvm } from '../create-accelerator.ts';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';

const noGdb = spawnSync('gdb', ['--version']).status !== 0 && 'gdb is not installed';

/** Counts RAX up to 20000h, then a NOP, then an endless loop. */
const PROGRAM = Uint8Array.of(
  ...[0x48, 0x31, 0xc0], // 0: xor rax, rax
  ...[0x48, 0xff, 0xc0], // 3: inc rax
  ...[0x48, 0x3d, 0x00, 0x00, 0x02, 0x00], // 6: cmp rax, 20000h
  ...[0x75, 0xf5], // 12: jne 3
  0x90, // 14: nop
  ...[0xeb, 0xfe], // 15: jmp 15
);

/** gdb's answers to commands, one string. */
function gdb(socket: string, commands: readonly string[]): string {
  const options = ['-nx', '-batch', '-iex', 'set architecture i386:x86-64', '-ex', `target remote ${socket}`];
  const { stdout, stderr } = spawnSync('gdb', [...options, ...commands.flatMap((one) => ['-ex', one])], {
    encoding: 'utf8',
  });
  return stdout + stderr;
}

for (const accel of ['tcg', 'kvm'] as const) {
  const skip = noGdb || (accel === 'kvm' && ((await whyNotKvm('kvm')) ?? false));
  test(`gdb on ${accel}: registers, memory, single steps, breakpoints in code that ran before`, { skip }, async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'kernel'), bzImage(PROGRAM));
    const line = ['-S', '-nodefaults', '-m', '64', '-kernel', 'kernel', '-display', 'none', '-accel', accel];
    await using _emulator = startEmulator([...line, '-gdb', 'unix:gdb', '-qmp', 'unix:qmp,server=on,wait=off'], folder);
    using qmp = await connectQmp(join(folder, 'qmp'));
    const output = gdb(join(folder, 'gdb'), [
      'set $entry = $rip',
      'set $rax = 77',
      'printf "rax before %d\\n", $rax',
      'stepi',
      'printf "step to +%d, rax %d\\n", $rip - $entry, $rax',
      'break *($entry + 14)',
      'continue',
      'printf "stopped at +%d, rax %#lx\\n", $rip - $entry, $rax',
      'printf "there stands %#x\\n", *(unsigned char *)$rip',
      'set var *(unsigned int *)0x10000 = 0x12345678',
      'printf "memory %#x\\n", *(unsigned int *)0x10000',
      'printf "cs %d mxcsr %#x\\n", $cs & 3, $mxcsr',
      'set $xmm3.v4_int32[1] = 5',
      'printf "xmm3 %d\\n", $xmm3.v4_int32[1]',
      'set $rip = $entry + 3',
      'set $rax = 0x1fff0',
      'continue',
      'printf "again at +%d, rax %#lx\\n", $rip - $entry, $rax',
      'stepi',
      'stepi',
      'printf "loop at +%d\\n", $rip - $entry',
      'monitor info status',
      'detach',
    ]);
    for (const expected of [
      'rax before 77\n',
      'step to +3, rax 0\n',
      'stopped at +14, rax 0x20000\n',
      'there stands 0x90\n',
      'memory 0x12345678\n',
      'cs 0 mxcsr 0x1f80\n',
      'xmm3 5\n',
      'again at +14, rax 0x20000\n',
      'loop at +15\n',
      'VM status: paused (debug)\n',
    ]) {
      assert.ok(output.includes(expected), `${expected.trim()} is missing in:\n${output}`);
    }
    // gdb let the guest go on.
    assert.equal((await qmp.call('query-status')).status, 'running');
    // It connects again, and the running guest stands still for it.
    assert.match(
      gdb(join(folder, 'gdb'), ['printf "rip byte %#x\\n", *(unsigned char *)$rip', 'kill']),
      /rip byte 0xeb\n/,
    );
    assert.equal((await qmp.event('SHUTDOWN')).data.reason, 'host-ui');
  });
}
