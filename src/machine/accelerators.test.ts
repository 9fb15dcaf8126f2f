/** The machine on KVM and on the software CPU, with guests of a few instructions that any /dev/kvm runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAP, createKvm, openKvm } from '../accel/index.ts';
import { nodeKvmHost, nodeThreads } from '../host/node/index.ts';
import { bzImage } from '../hw/testing/kernels.ts';
import type { MachineOptions } from './config.ts';
import { createMachineOn } from './machine.ts';
import { restoreMachineOn, saveMachine } from './snapshot.ts';
import { ask, interruptSuite, stateSuite } from './testing/accelerator-suite.ts';
import { COUNTING, HLT, POWER_OFF, PRINT_K } from './testing/small-guests.ts';

const MIB = 1024 * 1024;
const THREAD = new URL('./testing/kvm-thread.ts', import.meta.url).href;
const skip = (() => {
  try {
    openKvm(nodeKvmHost()).close();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
})();

const TCG = {
  name: 'software CPU',
  thread: new URL('./testing/tcg-thread.ts', import.meta.url).href,
  skip: false,
  options: { accel: ['tcg'] },
} as const;
for (const kernelIrqchip of ['on', 'split', 'off'] as const) {
  interruptSuite({
    name: `KVM, kernel irqchip ${kernelIrqchip}`,
    ...{ thread: THREAD, skip, options: { accel: ['kvm'], kernelIrqchip } },
  });
}
stateSuite({ name: 'KVM', thread: THREAD, skip, options: { accel: ['kvm'] }, hasDebugRegisters: true });
interruptSuite(TCG);
stateSuite({ ...TCG, hasDebugRegisters: false });

function machineOf(code: readonly number[], options: Partial<MachineOptions> = {}) {
  return createMachineOn(nodeThreads, THREAD, {
    memoryBytes: 16 * MIB,
    boot: { kernel: bzImage(Uint8Array.from(code)) },
    accel: ['kvm'],
    ...options,
  });
}

async function run(code: readonly number[], options: Partial<MachineOptions> = {}) {
  const machine = await machineOf(code, options);
  await machine.start();
  const chunks = await Array.fromAsync(machine.serial[0].readable);
  return { output: Buffer.concat(chunks).toString(), exit: await machine.exited };
}

test('more memory than 4 GiB, above its line too', { skip }, async () => {
  const { output } = await run([...PRINT_K, ...POWER_OFF, HLT], { memoryBytes: 6144 * MIB });
  assert.equal(output, 'k');
});

/** Whether the processor can run the TSC at any rate, and a model that both have, whose TSC runs as the host's does. */
const { scalesTsc, commonCpu } = (() => {
  if (skip) return { scalesTsc: false, commonCpu: '' };
  const system = openKvm(nodeKvmHost());
  const vm = system.createVm();
  const tscHertz = vm.createVcpu(0, vm.allocateRunPages(1), 0).tscKhz() * 1000;
  const scales = vm.capability(CAP.TSC_CONTROL) > 0;
  vm.close();
  system.close();
  return { scalesTsc: scales, commonCpu: `qemu64,-svm,-pni,kvm=off,tsc-frequency=${tscHertz}` };
})();
const THREADS = { kvm: THREAD, tcg: TCG.thread };

for (const [from, to] of [
  ['kvm', 'tcg'],
  ['tcg', 'kvm'],
] as const) {
  test(`a snapshot of ${from} goes on under ${to}, and its devices are the same`, { skip }, async () => {
    const boot = { kernel: bzImage(Uint8Array.from(COUNTING)) };
    const options = { memoryBytes: 16 * MIB, boot, accel: [from], cpu: commonCpu, cpus: 2 };
    await using first = await createMachineOn(nodeThreads, THREADS[from], options);
    await first.start();
    assert.equal(await ask(first, 'a'), 'a');
    const pieces: Buffer[] = [];
    for await (const piece of saveMachine(first)) pieces.push(Buffer.from(piece));
    await first.command('pause');
    const before = await first.command('save-state');
    await using copy = await restoreMachineOn(nodeThreads, THREADS[to], pieces, { accel: [to] });
    const after = await copy.command('save-state');
    assert.deepEqual(Object.keys(after.devices).sort(), Object.keys(before.devices).sort());
    assert.deepEqual(withoutTimes(after.devices), withoutTimes(before.devices));
    await copy.start();
    assert.equal(await ask(copy, 'a'), 'b');
    assert.equal(await ask(copy, 'a'), 'c');
  });
}

test('guest RAM that a balloon gives up reads as zeros', { skip }, () => {
  for (const backing of ['anonymous', 'memfd'] as const) {
    const { memory, close } = createKvm(nodeKvmHost(), {
      cpuModel: 'max',
      ramRanges: [{ base: 0, size: 4 * MIB }],
      ram: { backing },
      monotonicNanos: () => 0,
    });
    memory.view(MIB, 8192)!.fill(7);
    memory.giveBack(MIB, 4096);
    assert.deepEqual([memory.view(MIB, 1)![0], memory.view(MIB + 4096, 1)![0]], [0, 7], backing);
    close();
  }
});

test('more CPUs than KVM has, and a model that there is not', { skip }, async () => {
  await assert.rejects(run([HLT], { cpu: 'qemu65' }), { name: 'UserError', message: /qemu65.*qemu64/ });
});

test('a snapshot that the other accelerator cannot go on with says why', { skip }, async () => {
  const boot = { kernel: bzImage(Uint8Array.from(COUNTING)) };
  const refusals: (readonly [cpu: string, message: RegExp])[] = [
    ['max', /may be using CPU features that it would not have here: .*qemu64/],
  ];
  // A rate that the processor would have to scale its own to.
  if (!scalesTsc) refusals.push(['qemu64,-svm,-pni', /counter.*cannot give it.*tsc-frequency/]);
  for (const [cpu, message] of refusals) {
    await using first = await createMachineOn(nodeThreads, THREADS.tcg, { memoryBytes: 16 * MIB, boot, cpu });
    const pieces: Buffer[] = [];
    for await (const piece of saveMachine(first)) pieces.push(Buffer.from(piece));
    await assert.rejects(restoreMachineOn(nodeThreads, THREADS.kvm, pieces), { name: 'UserError', message });
  }
});

/** Times and counts of what counts by itself. */
function withoutTimes(devices: unknown): unknown {
  const text = JSON.stringify(devices, (key, value) =>
    /Nanos$|^startTick$|^elapsed$|^seen/.test(key) ? undefined : value,
  );
  return JSON.parse(text);
}
