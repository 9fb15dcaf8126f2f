import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { bzImage } from '../hw/testing/kernels.ts';
import type { MachineOptions } from './config.ts';
import type { Machine } from './machine.ts';
import { createMachineOn } from './machine.ts';
import { inProcessThreads } from './testing/in-process-threads.ts';

const MIB = 1024 * 1024;
const THREAD = new URL('./testing/fake-thread.ts', import.meta.url).href;

/** A machine whose CPU runs one of the programs of testing/fake-cpu.ts. */
function fakeMachine(program: string, options: Partial<MachineOptions> = {}): Promise<Machine> {
  const kernel = bzImage(new TextEncoder().encode(program));
  return createMachineOn(inProcessThreads, THREAD, { memoryBytes: 16 * MIB, boot: { kernel }, ...options });
}

async function readAll(machine: Machine): Promise<string> {
  const chunks = await Array.fromAsync(machine.serial[0].readable);
  return Buffer.concat(chunks).toString();
}

test('a guest prints and powers off', async () => {
  const machine = await fakeMachine('hello');
  await machine.start();
  assert.equal(await readAll(machine), 'hello\n');
  assert.deepEqual(await machine.exited, { reason: 'poweroff', message: 'the guest powered off' });
});

test('a person talks to the guest', async () => {
  await using machine = await fakeMachine('echo');
  await machine.start();
  const writer = machine.serial[0].writable.getWriter();
  await writer.write(Buffer.from('a line longer than the guest’s FIFO q'));
  assert.match(await readAll(machine), /^A LINE LONGER THAN/);
  assert.equal((await machine.exited).reason, 'poweroff');
});

test('a reset boots the machine again; with noReboot it ends it', async () => {
  const again = await fakeMachine('reboot');
  await again.start();
  assert.equal(await readAll(again), 'boot 1\nboot 2\nboot 3\n');
  const once = await fakeMachine('reboot', { noReboot: true });
  await once.start();
  assert.equal(await readAll(once), 'boot 1\n');
  assert.equal((await once.exited).reason, 'reset');
});

const ENDS: readonly [string, string, RegExp, RegExp?][] = [
  ['triple', 'shutdown', /^the guest crashed: triple fault at 0x1234$/, /^RIP=/],
  ['haltedForever', 'halted', /^the guest halted with interrupts off: nothing can wake it$/, /^RIP=/],
  ['panic', 'panic', /^the guest's kernel panicked: No working init found\.$/],
  ['panicForever', 'panic', /^the guest's kernel panicked: No working init found\.$/],
  ['mistake', 'error', /^the machine failed by a mistake of ours: Error: a bug$/, /fake-cpu/],
];

for (const [program, reason, message, details] of ENDS) {
  test(`the end of a machine is told as what it is: ${program}`, async () => {
    const machine = await fakeMachine(program);
    await machine.start();
    const exit = await machine.exited;
    assert.equal(exit.reason, reason);
    assert.match(exit.message, message);
    if (details === undefined) assert.equal(exit.details, undefined);
    else assert.match(exit.details ?? '', details);
  });
}

test('the debug-exit port gives the exit status as QEMU does', async () => {
  const machine = await fakeMachine('debugExit');
  await machine.start();
  assert.partialDeepStrictEqual(await machine.exited, { reason: 'debug-exit', code: 7 });
});

for (const program of ['busy', 'idle', 'flood']) {
  test(`stop ends a guest that is ${program}, within its time`, async () => {
    const machine = await fakeMachine(program);
    await machine.start();
    await delay(20);
    const before = performance.now();
    await machine.stop();
    assert.ok(performance.now() - before < 1000);
    assert.equal((await machine.exited).reason, 'stopped');
    await machine.stop();
  });
}

test('a machine that was never started can be stopped', async () => {
  const machine = await fakeMachine('idle');
  await machine.stop();
  assert.equal((await machine.exited).reason, 'stopped');
});

test('a reader that does not read stops the guest; one that goes on lets it go on', async () => {
  await using machine = await fakeMachine('flood');
  const reader = machine.serial[0].readable.getReader();
  await machine.start();
  await delay(100);
  let bytes = 0;
  while (bytes < 2 * MIB) {
    const { value } = await reader.read();
    bytes += value?.length ?? 0;
  }
  assert.ok(bytes >= 2 * MIB);
});

test('short sleeps of the guest take the time they should', async () => {
  const machine = await fakeMachine('sleeper');
  await machine.start();
  const nanos = Number(await readAll(machine));
  assert.ok(nanos >= 30e6, `${nanos} ns is too short`);
  assert.ok(nanos < 300e6, `${nanos} ns is too long`);
});

const kernel = bzImage(new Uint8Array(1));
const REFUSED: readonly [string, Partial<MachineOptions>, RegExp][] = [
  ['too little memory', { memoryBytes: MIB, accel: ['tcg'] }, /cannot be 1 MiB: from 16 MiB to 4032 MiB is possible/],
  ['too much memory', { memoryBytes: 8192 * MIB, accel: ['tcg'] }, /cannot be 8192 MiB/],
  ['too much memory for any', { memoryBytes: 2 ** 40 }, /cannot be 1048576 MiB/],
  ['no CPU', { cpus: 0 }, /cannot have 0 CPUs: from 1 to 255/],
  ['an unknown accelerator', { accel: ['xen' as 'kvm'] }, /no accelerator xen, only kvm, tcg, auto/],
  ['memory that is no size', { memoryBytes: Number.NaN }, /cannot be NaN/],
  ['an odd size', { memoryBytes: 16 * MIB + 1 }, /16777217 bytes is not a whole number of MiB/],
  ['an unknown CPU', { cpu: 'z80' }, /no CPU model z80/],
  ['no kernel', { boot: { kernel: Buffer.from('text') } }, /the kernel is a text file/],
  [
    'an initrd larger than memory',
    { boot: { kernel, initrd: new Uint8Array(17 * MIB) } },
    /larger than the guest's memory/,
  ],
];

for (const [what, options, message] of REFUSED) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(fakeMachine('idle', options), { name: 'UserError', message });
  });
}

test('a machine stands still and goes on, is reset, and tells each of it', async () => {
  await using machine = await fakeMachine('busy');
  const told = tellings(machine);
  assert.equal(machine.state, 'prelaunch');
  await machine.start();
  await told.until('state running');
  await machine.command('pause');
  assert.equal(machine.state, 'paused');
  await machine.command('press-power-button');
  await machine.command('reset');
  assert.equal(machine.state, 'prelaunch');
  await machine.command('resume');
  assert.equal(machine.state, 'running');
  assert.deepEqual(told.texts, [
    'state running',
    'state paused',
    'power-button',
    'reset by host',
    'state prelaunch',
    'state running',
  ]);
});

test('a guest that powers off can be kept to be looked at; only a reset lets it begin again', async () => {
  await using machine = await fakeMachine('hello', { actions: { powerOff: 'pause' } });
  const told = tellings(machine);
  await machine.start();
  await told.until('state shutdown');
  await assert.rejects(machine.command('resume'), { message: 'Resetting the Virtual Machine is required' });
  assert.equal((await machine.command('read-memory', { address: 0, length: 16 })).length, 16);
  await machine.command('reset');
  await machine.command('set-actions', { powerOff: 'end' });
  await machine.command('resume');
  assert.equal((await machine.exited).reason, 'poweroff');
});

test('a triple fault resets the machine, and a reset can be made a power-off', async () => {
  await using machine = await fakeMachine('triple', { actions: { tripleFault: 'reset', reboot: 'power-off' } });
  const told = tellings(machine);
  await machine.start();
  assert.equal((await machine.exited).reason, 'reset');
  assert.deepEqual(told.texts, ['state running', 'shutdown guest-reset']);
});

test('what cannot be done is refused, and the machine goes on', async () => {
  const machine = await fakeMachine('idle', { balloon: {} });
  await machine.start();
  await assert.rejects(machine.command('read-memory', { address: 2 ** 40, length: 1 }), {
    message: 'there is no memory at 0x10000000000',
  });
  await assert.rejects(machine.command('set-link', { network: 0, up: true }), {
    message: 'there is no network card 0',
  });
  await machine.command('set-balloon', { bytes: 8 * MIB });
  assert.deepEqual(await machine.command('balloon'), { actualBytes: 16 * MIB, reportedBytes: 0, statistics: {} });
  await machine.stop();
  await assert.rejects(machine.command('balloon'), { message: 'the machine has ended' });
});

test('two devices cannot have one place on the PCI bus', async () => {
  const disks = [
    { file: 'a', slot: 5 },
    { file: 'b', slot: 5 },
  ];
  await assert.rejects(fakeMachine('idle', { disks }), { message: /the place 5 on the PCI bus is taken/ });
});

/** What a machine tells, as short texts. */
function tellings(machine: Machine) {
  const texts: string[] = [];
  let onText = () => {};
  machine.onEvent((event) => {
    if (event.kind === 'state') texts.push(`state ${event.state}`);
    else if (event.kind === 'reset') texts.push(`reset by ${event.byGuest ? 'guest' : 'host'}`);
    else texts.push(event.kind === 'shutdown' ? `shutdown ${event.cause}` : event.kind);
    onText();
  });
  return {
    texts,
    async until(text: string) {
      while (!texts.includes(text)) await new Promise<void>((resolve) => (onText = resolve));
    },
  };
}
