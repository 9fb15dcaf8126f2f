/** What every accelerator must do for a machine, seen from outside: one suite for all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeThreads } from '../../host/node/index.ts';
import { bzImage } from '../../hw/testing/kernels.ts';
import type { MachineOptions } from '../config.ts';
import { createMachineOn, type Machine } from '../machine.ts';
import { restoreMachineOn, saveMachine } from '../snapshot.ts';
import { COUNTING, HLT, LOOP, POWER_OFF, PRINT_K, RESET, TIMER_GUEST } from './small-guests.ts';

const MIB = 1024 * 1024;

export interface AcceleratorUnderTest {
  readonly name: string;
  /** Module of the machine's thread. */
  readonly thread: string;
  readonly skip: string | false;
  readonly options: Partial<MachineOptions>;
}

function runnerOf({ thread, options: own }: AcceleratorUnderTest) {
  const machineOf = (code: readonly number[], options: Partial<MachineOptions> = {}) =>
    createMachineOn(nodeThreads, thread, {
      memoryBytes: 16 * MIB,
      boot: { kernel: bzImage(Uint8Array.from(code)) },
      ...own,
      ...options,
    });
  const run = async (code: readonly number[], options: Partial<MachineOptions> = {}) => {
    const machine = await machineOf(code, options);
    await machine.start();
    const chunks = await Array.fromAsync(machine.serial[0].readable);
    return { output: Buffer.concat(chunks).toString(), exit: await machine.exited };
  };
  return { machineOf, run };
}

/** Sends one byte and returns the answer. */
export async function ask(machine: Machine, text: string): Promise<string> {
  const [{ readable, writable }] = machine.serial;
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  await writer.write(Buffer.from(text));
  const { value } = await reader.read();
  reader.releaseLock();
  writer.releaseLock();
  return Buffer.from(value!).toString();
}

/** Output, interrupts and ends. */
export function interruptSuite(accelerator: AcceleratorUnderTest): void {
  const { name, skip } = accelerator;
  const { run } = runnerOf(accelerator);
  test(`${name}: prints and powers off`, { skip }, async () => {
    const { output, exit } = await run([...PRINT_K, ...POWER_OFF, HLT]);
    assert.equal(output, 'k');
    assert.equal(exit.reason, 'poweroff');
  });

  test(`${name}: the timer chip interrupts through the 8259`, { skip }, async () => {
    const { output, exit } = await run(TIMER_GUEST);
    assert.equal(output, 'kkk');
    assert.equal(exit.reason, 'poweroff');
  });

  test(`${name}: a halt that nothing can end`, { skip }, async () => {
    const { exit } = await run([HLT]);
    assert.equal(exit.reason, 'halted');
    assert.match(exit.details ?? '', /RIP=0{10}200201/);
  });
}

/** Resets, stops, pauses, snapshots, debuggers. */
export function stateSuite(accelerator: AcceleratorUnderTest & { readonly hasDebugRegisters: boolean }): void {
  const { name, thread, skip, hasDebugRegisters } = accelerator;
  const { machineOf, run } = runnerOf(accelerator);

  test(`${name}: resets: the end with noReboot`, { skip }, async () => {
    const { output, exit } = await run([...PRINT_K, ...RESET, ...LOOP], { noReboot: true });
    assert.equal(output, 'k');
    assert.equal(exit.reason, 'reset');
  });

  test(`${name}: resets: everything begins again`, { skip }, async () => {
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

  test(`${name}: a triple fault`, { skip }, async () => {
    // lidt [rip + 9] of an empty table; mov rax, [-1 MiB], which no page table has
    const { exit } = await run([
      0x0f, 0x01, 0x1d, 0x08, 0, 0, 0, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0xf0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    assert.deepEqual([exit.reason, exit.message], ['shutdown', 'the guest crashed: triple fault']);
  });

  test(`${name}: stopped while its guest is busy, and while it sleeps`, { skip }, async () => {
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

  test(`${name}: a snapshot: the machine and its copy go on from there`, { skip }, async () => {
    await using first = await machineOf(COUNTING, { cpus: 2 });
    await first.start();
    assert.equal(await ask(first, 'a'), 'a');
    const pieces: Buffer[] = [];
    for await (const piece of saveMachine(first)) pieces.push(Buffer.from(piece));
    assert.equal(await ask(first, 'a'), 'b');
    await using copy = await restoreMachineOn(nodeThreads, thread, pieces);
    await copy.start();
    assert.equal(await ask(copy, 'a'), 'b');
    assert.equal(await ask(copy, 'a'), 'c');
  });

  test(`${name}: paused and resumed: nothing of the guest is lost`, { skip }, async () => {
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

  test(`${name}: asked for its state, paused and reset while it is busy`, { skip }, async () => {
    await using machine = await machineOf([...PRINT_K, ...LOOP]);
    await machine.start();
    const reader = machine.serial[0].readable.getReader();
    await reader.read();
    const rip = async () => ((await machine.command('read-cpu')) as { rip: bigint }).rip;
    for (let i = 0; i < 10; i++) {
      assert.equal(await rip(), 0x20_0207n);
      // All at once: what comes after a pause sees a guest that stands still.
      const [, first, second] = await Promise.all([machine.command('pause'), rip(), rip(), machine.command('resume')]);
      assert.deepEqual([first, second], [0x20_0207n, 0x20_0207n]);
      await machine.command('reset');
      await reader.read(); // it prints again
    }
  });

  test(`${name}: a debugger: registers, single steps, and the guest goes on`, { skip }, async () => {
    // l: inc eax, three times; jmp l
    const code = [...PRINT_K, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xeb, 0xf8];
    const places = [0x07, 0x09, 0x0b, 0x0d].map(BigInt);
    await using machine = await machineOf(code, { cpus: hasDebugRegisters ? 2 : 1 });
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

  test(`${name}: breakpoints: as many as there are debug registers without an INT3, more of them with one`, {
    skip,
  }, async () => {
    const [ENTRY, PLACES, INT3] = [0x20_0200, 6, 0xcc];
    // l: inc eax, twice for each place; jmp l
    const code = [
      ...PRINT_K,
      ...Array.from({ length: PLACES * 2 }, () => [0xff, 0xc0]).flat(),
      0xeb,
      0xfe - PLACES * 4,
    ];
    const addresses = Array.from({ length: PLACES }, (_, i) => ENTRY + PRINT_K.length + i * 4);
    const linear = addresses.map(BigInt);
    await using machine = await machineOf(code, { cpus: hasDebugRegisters ? 2 : 1 });
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
    let next = 0;
    if (hasDebugRegisters) {
      // The guest's own code is there.
      await machine.command('set-breakpoints', [linear[2]]);
      for (let i = 0; i < 2; i++) {
        assert.equal(await go('resume'), linear[2]);
        assert.equal(await go('debug-step'), linear[2] + 2n);
      }
      next = 3;
    }
    for (const address of addresses) await insert(address, INT3);
    await machine.command('set-breakpoints', linear);
    for (let i = next; i < next + 2 * PLACES; i++) {
      const at = i % PLACES;
      assert.equal(await go('resume'), linear[at]);
      // As a debugger goes on: the instruction is put back for a step.
      await insert(addresses[at], 0xff);
      assert.equal(await go('debug-step'), linear[at] + 2n);
      await insert(addresses[at], INT3);
    }
  });
}
