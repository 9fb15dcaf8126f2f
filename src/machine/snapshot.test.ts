/** Machines saved and restored, on guests of a few instructions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../base/index.ts';
import { bzImage } from '../hw/testing/kernels.ts';
import { SnapshotReader, snapshotBytes } from '../migration/index.ts';
import type { MachineOptions } from './config.ts';
import { createMachineOn, type Machine } from './machine.ts';
import { type RestoreOptions, restoreMachineOn, saveMachine } from './snapshot.ts';
import { inProcessThreads } from './testing/in-process-threads.ts';

const MIB = 1024 * 1024;
const THREAD = new URL('./testing/tcg-thread.ts', import.meta.url).href;

/** Answers each byte of COM1 with the byte plus how many came before it, which it counts in memory. */
const COUNTER = Uint8Array.of(
  ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7], // wait until there is a byte
  ...[0x66, 0xba, 0xf8, 0x03, 0xec], // in al, dx
  ...[0x02, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00], // add al, [300000h]
  ...[0xfe, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00], // inc byte [300000h]
  ...[0xee, 0xeb, 0xe1], // out dx, al; again
);
const initrd = Uint8Array.of(1, 2, 3);

function create(options: Partial<MachineOptions> = {}): Promise<Machine> {
  const boot = { kernel: bzImage(COUNTER), initrd, commandLine: 'word' };
  return createMachineOn(inProcessThreads, THREAD, { memoryBytes: 16 * MIB, boot, ...options });
}

const restore = (source: Iterable<Uint8Array>, options?: RestoreOptions) =>
  restoreMachineOn(inProcessThreads, THREAD, source, options);

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

async function save(machine: Machine): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of saveMachine(machine)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

test('a restored machine goes on where the snapshot was taken, and so does the one it was taken of', async () => {
  await using first = await create();
  await first.start();
  assert.equal(await ask(first, 'a'), 'a');
  assert.equal(await ask(first, 'a'), 'b');
  const snapshot = await save(first);
  assert.equal(first.state, 'running');
  assert.equal(await ask(first, 'a'), 'c');
  for (const size of [snapshot.length, 5000]) {
    const pieces = Array.from({ length: Math.ceil(snapshot.length / size) }, (_, i) =>
      snapshot.subarray(i * size, (i + 1) * size),
    );
    await using second = await restore(pieces);
    assert.equal(second.state, 'prelaunch');
    assert.deepEqual(second.config.boot, first.config.boot);
    await second.start();
    assert.equal(await ask(second, 'a'), 'c');
    assert.equal(await ask(second, 'a'), 'd');
    // A reset starts the kernel that came with the snapshot; its count in RAM stays, as on a PC.
    await second.command('reset');
    assert.equal(await ask(second, 'a'), 'e');
  }
});

test('a machine that has not been started, and one that is paused, stay so', async () => {
  await using machine = await create();
  await using early = await restore([await save(machine)]);
  await early.start();
  assert.equal(await ask(early, 'x'), 'x');
  await early.command('pause');
  await using later = await restore([await save(early)]);
  assert.equal(early.state, 'paused');
  await later.start();
  assert.equal(await ask(later, 'x'), 'y');
});

test('what a snapshot’s machine needs must be given, no more and no less', async () => {
  await using machine = await create({ networks: [{ kind: 'user' }] });
  const snapshot = await save(machine);
  await assert.rejects(
    restore([snapshot]),
    /^UserError: the machine of the snapshot has 1 network card: give as many, not 0$/,
  );
  const networks = [{ kind: 'user' }] as const;
  await assert.rejects(
    restore([snapshot], { networks, disks: [{ file: 'x' }] }),
    /^UserError: the machine of the snapshot has no disks: give as many, not 1$/,
  );
  await using restored = await restore([snapshot], { networks });
  await restored.start();
  assert.equal(await ask(restored, 'm'), 'm');
});

test('a snapshot that ends early or does not fit leaves no machine behind', async () => {
  await using machine = await create();
  const snapshot = await save(machine);
  for (const length of [0, 10, 200, 10_000, snapshot.length - 1]) {
    await assert.rejects(restore([snapshot.subarray(0, length)]), UserError, `${length} bytes`);
  }
  interface Parts {
    state: { hardware?: object };
    devices: { name: string; version: number; record: object }[];
  }
  const changed = (change: (parts: Parts) => void): Buffer => {
    const reader = new SnapshotReader();
    const taken = reader.feed(snapshot);
    reader.connectMemory((_address, length) => new Uint8Array(length));
    reader.feed(snapshot.subarray(taken));
    const parts = structuredClone({ state: reader.state, devices: reader.devices });
    change(parts as unknown as Parts);
    return Buffer.concat([...snapshotBytes({ ...parts, blobs: reader.blobs, memory: machine.memory })]);
  };
  const find = ({ devices }: Parts, wanted: string) => devices.find(({ name }) => name === wanted)!;
  const cases: readonly (readonly [(parts: Parts) => void, RegExp])[] = [
    [
      (parts) => (parts.devices = parts.devices.filter(({ name }) => name !== 'com1')),
      /field devices\.com1 must be a record, not missing/,
    ],
    [({ devices }) => devices.push({ name: 'extra', version: 1, record: {} }), /field devices\.extra must be absent/],
    [({ devices }) => devices.push(structuredClone(devices[0])), /its device clock, there twice,/],
    [
      (parts) => Object.assign(find(parts, 'cpu[0]').record, { rip: 'x' }),
      /field cpus\[0\]\.rip must be a 64-bit unsigned bigint/,
    ],
    [(parts) => (find(parts, 'com1').version = 2), /com1 was saved by a newer version of Vireo/],
    [({ devices }) => devices.shift(), /its clock, which is missing/],
    [({ state }) => Object.assign(state.hardware!, { memoryBytes: 1 }), /the guest's memory cannot be/],
    [({ state }) => Object.assign(state.hardware!, { cpu: 'nonsense' }), /nonsense/],
    [({ state }) => delete state.hardware, /its state, which lacks hardware/],
  ];
  for (const [change, message] of cases) await assert.rejects(restore([changed(change)]), message);
});

test('only a machine that stands still gives its state, and only one that never ran takes one', async () => {
  await using machine = await create();
  await machine.start();
  assert.equal(await ask(machine, 'a'), 'a');
  await assert.rejects(machine.command('save-state'), /must be paused for a snapshot/);
  await machine.command('pause');
  const state = await machine.command('save-state');
  await assert.rejects(machine.command('load-state', state), /a machine that ran takes no snapshot/);
});
