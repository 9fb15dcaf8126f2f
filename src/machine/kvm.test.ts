/** The machine on KVM, with guests of a few instructions that any /dev/kvm runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAP, createKvm, openKvm } from '../accel/index.ts';
import { nodeKvmHost, nodeThreads } from '../host/node/index.ts';
import { bzImage } from '../hw/testing/kernels.ts';
import type { MachineOptions } from './config.ts';
import { createMachineOn, type Machine } from './machine.ts';
import { restoreMachineOn, saveMachine } from './snapshot.ts';

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

const PRINT_K = [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x6b, 0xee]; // mov dx, 3f8h; mov al, 'k'; out dx, al
const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef]; // mov dx, 604h; mov ax, 2000h; out dx, ax
const RESET = [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]; // mov dx, cf9h; mov al, 6; out dx, al
const HLT = 0xf4;
const LOOP = [0xeb, 0xfe]; // jmp to itself

/** Sets up the IDT at 300000h, the 8259s and 100 interrupts a second; each prints, the third ends. */
const TIMER_GUEST = (() => {
  const ENTRY = 0x20_0200;
  const out = (port: number, value: number) => [0xb0, value, 0xe6, port]; // mov al, value; out port, al
  const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
  const store = (address: number, value: number) => [0xc7, 0x04, 0x25, ...dword(address), ...dword(value)];
  const sleep = [0xfb, HLT, 0xeb, 0xfd]; // sti; l: hlt; jmp l
  const set = (handler: number, table: number) => [
    ...store(0x30_0200, 0x10_0000 | (handler & 0xffff)),
    ...store(0x30_0204, (handler & 0xffff_0000) | 0x8e00),
    ...[0x0f, 0x01, 0x1c, 0x25, ...dword(table)], // lidt
    ...[...out(0x20, 0x11), ...out(0x21, 0x20), ...out(0x21, 0x04), ...out(0x21, 0x01), ...out(0x21, 0xfe)],
    ...[...out(0x43, 0x34), ...out(0x40, 0x9b), ...out(0x40, 0x2e)],
    ...sleep,
  ];
  // It does not return from its interrupts: the stack is long enough.
  const handler = [
    ...PRINT_K,
    ...out(0x20, 0x20),
    ...[0xff, 0x04, 0x25, ...dword(0x30_8000)], // inc dword [308000h]
    ...[0x83, 0x3c, 0x25, ...dword(0x30_8000), 3, 0x74, sleep.length], // cmp dword [308000h], 3; je past the sleep
    ...sleep,
    ...POWER_OFF,
    HLT,
  ];
  const begin = [0xbc, ...dword(0x31_0000)]; // mov esp, 310000h
  const length = begin.length + set(0, 0).length;
  const table = ENTRY + length + handler.length;
  return [...begin, ...set(ENTRY + length, table), ...handler, 0xff, 0x0f, ...dword(0x30_0000), 0, 0, 0, 0];
})();

function machineOf(code: readonly number[], options: Partial<MachineOptions> = {}) {
  return createMachineOn(nodeThreads, THREAD, {
    memoryBytes: 16 * MIB,
    boot: { kernel: bzImage(Uint8Array.from(code)) },
    accel: ['kvm'],
    ...options,
  });
}

/** Sends one byte and returns the answer. */
async function ask(machine: Machine, text: string): Promise<string> {
  const [{ readable, writable }] = machine.serial;
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  await writer.write(Buffer.from(text));
  const { value } = await reader.read();
  reader.releaseLock();
  writer.releaseLock();
  return Buffer.from(value!).toString();
}

async function run(code: readonly number[], options: Partial<MachineOptions> = {}) {
  const machine = await machineOf(code, options);
  await machine.start();
  const chunks = await Array.fromAsync(machine.serial[0].readable);
  return { output: Buffer.concat(chunks).toString(), exit: await machine.exited };
}

for (const kernelIrqchip of ['on', 'split', 'off'] as const) {
  test(`kernel irqchip ${kernelIrqchip}: prints and powers off`, { skip }, async () => {
    const { output, exit } = await run([...PRINT_K, ...POWER_OFF, HLT], { kernelIrqchip });
    assert.equal(output, 'k');
    assert.equal(exit.reason, 'poweroff');
  });

  test(`kernel irqchip ${kernelIrqchip}: the timer chip interrupts through the 8259`, { skip }, async () => {
    const { output, exit } = await run(TIMER_GUEST, { kernelIrqchip });
    assert.equal(output, 'kkk');
    assert.equal(exit.reason, 'poweroff');
  });

  test(`kernel irqchip ${kernelIrqchip}: a halt that nothing can end`, { skip }, async () => {
    const { exit } = await run([HLT], { kernelIrqchip });
    assert.equal(exit.reason, 'halted');
    assert.match(exit.details ?? '', /RIP=0{10}200201/);
  });
}

test('resets: the end with noReboot', { skip }, async () => {
  const { output, exit } = await run([...PRINT_K, ...RESET, ...LOOP], { noReboot: true });
  assert.equal(output, 'k');
  assert.equal(exit.reason, 'reset');
});

test('resets: everything begins again', { skip }, async () => {
  // CMOS keeps a mark over the reset: the second run powers off.
  const cmos = [0xb0, 0x40, 0xe6, 0x70]; // mov al, 40h; out 70h, al
  const mark = [...cmos, 0xb0, 0x5a, 0xe6, 0x71]; // mov al, 5ah; out 71h, al
  const rest = [...mark, ...RESET, ...LOOP];
  const { output, exit } = await run([
    ...PRINT_K,
    ...cmos,
    ...[0xe4, 0x71, 0x3c, 0x5a, 0x74, rest.length], // in al, 71h; cmp al, 5ah; je power-off
    ...rest,
    ...POWER_OFF,
    HLT,
  ]);
  assert.equal(output, 'kk');
  assert.equal(exit.reason, 'poweroff');
});

test('a triple fault', { skip }, async () => {
  // lidt [rip + 9] of an empty table; mov rax, [-1 MiB], which no page table has
  const { exit } = await run([
    0x0f, 0x01, 0x1d, 0x08, 0, 0, 0, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0xf0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  ]);
  assert.deepEqual([exit.reason, exit.message], ['shutdown', 'the guest crashed: triple fault']);
});

test('stopped while its guest is busy, and while it sleeps', { skip }, async () => {
  for (const code of [
    [...PRINT_K, ...LOOP],
    [...PRINT_K, 0xfb, HLT, 0xeb, 0xfd], // sti; l: hlt; jmp l
  ]) {
    const machine = await machineOf(code, { cpus: 2 });
    await machine.start();
    await machine.serial[0].readable.getReader().read();
    await machine.stop();
    assert.equal((await machine.exited).reason, 'stopped');
  }
});

test('more memory than 4 GiB, above its line too', { skip }, async () => {
  const { output } = await run([...PRINT_K, ...POWER_OFF, HLT], { memoryBytes: 6144 * MIB });
  assert.equal(output, 'k');
});

test('a snapshot: the machine and its copy go on from there', { skip }, async () => {
  await using first = await machineOf(COUNTING, { cpus: 2 });
  await first.start();
  assert.equal(await ask(first, 'a'), 'a');
  const pieces: Buffer[] = [];
  for await (const piece of saveMachine(first)) pieces.push(Buffer.from(piece));
  assert.equal(await ask(first, 'a'), 'b');
  await using copy = await restoreMachineOn(nodeThreads, THREAD, pieces);
  await copy.start();
  assert.equal(await ask(copy, 'a'), 'b');
  assert.equal(await ask(copy, 'a'), 'c');
});

/** Answers each byte of COM1 with the byte plus how many came before it, which it counts in memory. */
const COUNTING = [
  ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7], // wait until there is a byte
  ...[0x66, 0xba, 0xf8, 0x03, 0xec], // in al, dx
  ...[0x02, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00], // add al, [300000h]
  ...[0xfe, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00], // inc byte [300000h]
  ...[0xee, 0xeb, 0xe1], // out dx, al; again
];

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
const THREADS = { kvm: THREAD, tcg: new URL('./testing/tcg-thread.ts', import.meta.url).href };

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

test('paused and resumed: nothing of the guest is lost', { skip }, async () => {
  await using machine = await machineOf([...PRINT_K, ...LOOP]);
  await machine.start();
  const reader = machine.serial[0].readable.getReader();
  await reader.read();
  for (let i = 0; i < 20; i++) {
    await machine.command('pause');
    const rip = /RIP=0*2002([0-9a-f]+)/.exec(await machine.command('describe-cpu'))?.[1];
    assert.equal(rip, '07'); // at the jump
    await machine.command('resume');
  }
});

test('a debugger: registers, single steps, and the guest goes on', { skip }, async () => {
  // l: inc eax, three times; jmp l
  const code = [...PRINT_K, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xeb, 0xf8];
  const places = [0x07, 0x09, 0x0b, 0x0d].map(BigInt);
  await using machine = await machineOf(code, { cpus: 2 });
  await machine.start();
  const reader = machine.serial[0].readable.getReader();
  await reader.read();
  await machine.command('pause');
  const cpu = async () => (await machine.command('read-cpu')) as { rip: bigint; general: bigint[] };
  let stopped = Promise.withResolvers<void>();
  machine.onEvent((event) => {
    if (event.kind === 'state' && event.state === 'debug') stopped.resolve();
  });
  const seen: bigint[] = [];
  for (let i = 0; i < 9; i++) {
    stopped = Promise.withResolvers();
    await machine.command('debug-step');
    await stopped.promise;
    seen.push((await cpu()).rip & 0xffn);
  }
  const first = places.indexOf(seen[0]);
  assert.deepEqual(
    seen,
    seen.map((_, i) => places[(first + i) % places.length]),
  );
  await machine.command('write-cpu', { ...(await machine.command('read-cpu')), rip: 0x20_0200n });
  assert.equal((await cpu()).rip, 0x20_0200n);
  await machine.command('set-breakpoints', []);
  await machine.command('resume');
  await reader.read(); // it prints again
});

test('breakpoints: as many as there are debug registers without an INT3, more of them with one', { skip }, async () => {
  const [ENTRY, PLACES, INT3] = [0x20_0200, 6, 0xcc];
  // l: inc eax, twice for each place; jmp l
  const code = [...PRINT_K, ...Array.from({ length: PLACES * 2 }, () => [0xff, 0xc0]).flat(), 0xeb, 0xfe - PLACES * 4];
  const addresses = Array.from({ length: PLACES }, (_, i) => ENTRY + PRINT_K.length + i * 4);
  const linear = addresses.map(BigInt);
  await using machine = await machineOf(code, { cpus: 2 });
  let stopped = Promise.withResolvers<void>();
  machine.onEvent((event) => {
    if (event.kind === 'state' && event.state === 'debug') stopped.resolve();
  });
  await machine.start();
  await machine.serial[0].readable.getReader().read();
  await machine.command('pause');
  const go = async (command: 'resume' | 'debug-step') => {
    stopped = Promise.withResolvers();
    await machine.command(command);
    await stopped.promise;
    return ((await machine.command('read-cpu')) as { rip: bigint }).rip;
  };
  const insert = (address: number, byte: number) =>
    machine.command('write-memory', { address, bytes: Uint8Array.of(byte) });
  // The guest's own code is there: the debug registers stop it.
  await machine.command('set-breakpoints', [linear[2]]);
  for (let i = 0; i < 2; i++) {
    assert.equal(await go('resume'), linear[2]);
    assert.equal(await go('debug-step'), linear[2] + 2n);
  }
  for (const address of addresses) await insert(address, INT3);
  await machine.command('set-breakpoints', linear);
  for (let i = 3; i < 3 + 2 * PLACES; i++) {
    const at = i % PLACES;
    assert.equal(await go('resume'), linear[at]);
    // As a debugger goes on: the instruction is put back for a step.
    await insert(addresses[at], 0xff);
    assert.equal(await go('debug-step'), linear[at] + 2n);
    await insert(addresses[at], INT3);
  }
});

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
