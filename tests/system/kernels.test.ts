/** Debian's kernels, cloud and generic, on the least CPU and on the one with everything: up to init and down again. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { genericKernel } from './debian.ts';
import { runToEnd, tryDefaultGuest } from './guest.ts';

// Not inside a test: the first time, getting the packages takes longer than a test may.
const guest = await tryDefaultGuest();
const generic = typeof guest === 'string' ? guest : await genericKernel().catch((error: Error) => error.message);
const skip = typeof generic === 'string' && generic;

const RELEASES = { cloud: /6\.\d+\.\d+-\d+-cloud-amd64\n/, generic: /6\.\d+\.\d+-\d+-amd64\n/ } as const;

/** Lines that a kernel prints when something is wrong with its machine. */
const COMPLAINTS =
  /BUG:|Oops|WARNING:|Call Trace|soft lockup|rcu_\w+ (self-)?detected stall|invalid opcode|irq \d+: nobody/;

async function bootAndPowerOff(context: TestContext, kernel: keyof typeof RELEASES, cpu: string): Promise<void> {
  const { exit, console } = await runToEnd({
    kernel: kernel === 'cloud' || typeof generic === 'string' ? undefined : generic,
    cpu,
    commandLine: 'console=ttyS0 panic=-1 VIREO_INPUT=pipe',
    input: 'uname -r\nexit\n',
    memoryBytes: 256 * 1024 ** 2,
  });
  context.diagnostic(
    `up to init in ${/\[ *([\d.]+)\] Run \/init as init process/.exec(console)?.[1]} s of the guest's time`,
  );
  const tail = console.slice(-3000);
  assert.deepEqual([exit.reason, exit.message], ['poweroff', 'the guest powered off'], tail);
  assert.match(console.slice(console.indexOf('booted by Vireo')), RELEASES[kernel], tail);
  assert.ok(console.includes('reboot: Power down'), tail);
  assert.equal(COMPLAINTS.exec(console)?.[0], undefined, tail);
}

for (const kernel of ['cloud', 'generic'] as const) {
  for (const cpu of ['qemu64', 'max']) {
    test(`the ${kernel} kernel on ${cpu}`, { skip }, (context) => bootAndPowerOff(context, kernel, cpu));
  }
}
