/** vCPUs in threads of their own: startup of a second one, turns, stops. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BootEntry, Doorbells } from '../../contract/index.ts';
import { nodeKvmHost } from '../../host/node/index.ts';
import { plainBus } from '../tcg/testing/environment.ts';
import { createKvm, type KvmOptions } from './accelerator.ts';
import { kvmMissing } from './testing/tiny-guest.ts';

const skip = kvmMissing;
const RAM_BYTES = 2 * 1024 * 1024;
const [CODE, STACK, TABLES, GDT] = [0x1000, 0x8000, 0x2000, 0x500];
const HLT = 0xf4;
const ENTRY: BootEntry = {
  mode: 'long64',
  rip: CODE,
  registers: { rsp: STACK },
  cr3: TABLES,
  gdt: { base: GDT, limit: 0x1f },
};

interface RigOptions extends Pick<KvmOptions, 'kernelIrqchip'> {
  readonly bind?: (doorbells: Doorbells) => void;
}

/** CPUs in 64-bit mode; the first 2 MiB and the local APIC are mapped. `onOut` hears of port writes. */
function rig(
  code: readonly number[],
  cpus: number,
  onOut: (port: number, value: number) => void,
  { bind = () => {}, ...options }: RigOptions = {},
) {
  const kvm = createKvm(nodeKvmHost(), {
    cpuModel: 'max',
    cpus,
    ramRanges: [{ base: 0, size: RAM_BYTES }],
    monotonicNanos: () => performance.now() * 1e6,
    ...options,
  });
  const interrupts = kvm.createInterrupts(0);
  const ends: number[] = [];
  const noPics = { pending: () => false, acknowledge: () => 0 };
  if (interrupts?.kind === 'split') interrupts.connect(noPics, (vector) => ends.push(vector));
  let mmioWrites = 0;
  const memory = kvm.memory.view(0, RAM_BYTES)!;
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  memory.set(code, CODE);
  view.setBigUint64(TABLES, BigInt(TABLES + 0x1003), true);
  view.setBigUint64(TABLES + 0x1000, BigInt(TABLES + 0x2003), true);
  view.setBigUint64(TABLES + 0x2000, 0x83n, true);
  view.setBigUint64(TABLES + 0x1018, BigInt(TABLES + 0x3003), true);
  view.setBigUint64(TABLES + 0x3000 + 0x1f7 * 8, 0xfee0_0083n, true);
  view.setBigUint64(GDT + 0x10, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(GDT + 0x18, 0x00cf_9300_0000_ffffn, true);
  const ports = plainBus((port, _size, value) => onOut(port, value));
  const mmio = plainBus(() => mmioWrites++);
  bind(kvm.doorbells);
  const vcpus = kvm.createVcpus({ mmio, ports, mayContinue: () => true });
  vcpus.reset(ENTRY);
  return {
    memory,
    vcpus,
    interrupts,
    ends,
    doorbells: kvm.doorbells,
    mmioWrites: () => mmioWrites,
    serveUntil(isOver: () => boolean) {
      while (!isOver()) if (!vcpus.serve()) vcpus.wait(1e7);
    },
    async [Symbol.asyncDispose]() {
      await vcpus.close();
      kvm.close();
    },
  };
}

test('INIT and SIPI start a second CPU', { skip }, async () => {
  const seen: number[][] = [];
  await using guest = rig(
    [
      ...[0xb8, 0x00, 0x03, 0xe0, 0xfe], // mov eax, fee00300h: the interrupt command register
      ...[0xc7, 0x40, 0x10, 0, 0, 0, 1], // to APIC 1
      ...[0xc7, 0x00, 0x00, 0x45, 0, 0], // INIT
      ...[0xc7, 0x00, 0x09, 0x46, 0, 0], // startup at 9000h
      ...[HLT, 0xeb, 0xfd],
    ],
    2,
    (port, value) => seen.push([port, value]),
  );
  guest.memory.set([0xb0, 0x33, 0xe6, 0x55, HLT, 0xeb, 0xfd], 0x9000); // mov al, 33h; out 55h, al
  guest.vcpus.resume();
  guest.serveUntil(() => seen.length > 0);
  assert.deepEqual(seen, [[0x55, 0x33]]);
  guest.vcpus.pause();
  assert.equal(guest.vcpus.snapshot().length, 2);
});

/** Fewer on a host that is emulated. */
const MANY_CPUS = Number(process.env.VIREO_KVM_CPUS ?? 255);

test(`${MANY_CPUS} CPUs: the first starts each of the others by itself`, { skip }, async () => {
  const CPUS = MANY_CPUS;
  const started = new Set<number>();
  await using guest = rig(
    [
      ...[0xb8, 0x00, 0x03, 0xe0, 0xfe], // mov eax, fee00300h: the interrupt command register
      ...[0xb9, 1, 0, 0, 0], // mov ecx, 1
      ...[0x89, 0xca, 0xc1, 0xe2, 0x18, 0x89, 0x50, 0x10], // l: mov edx, ecx; shl edx, 24; mov [rax + 10h], edx
      ...[0xc7, 0x00, 0x00, 0x45, 0, 0], // INIT
      ...[0xc7, 0x00, 0x09, 0x46, 0, 0], // startup at 9000h
      ...[0xff, 0xc1, 0x81, 0xf9, CPUS, 0, 0, 0, 0x75, 0xe2], // inc ecx; cmp ecx, CPUS; jne l
      ...[HLT, 0xeb, 0xfd],
    ],
    CPUS,
    (_port, value) => started.add(value & 0xff),
  );
  // In real mode: its number from CPUID: mov eax, 1; cpuid; shr ebx, 24; mov al, bl; out 55h, al; l: hlt; jmp l
  guest.memory.set(
    [0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0xc1, 0xeb, 0x18, 0x88, 0xd8, 0xe6, 0x55, HLT, 0xeb, 0xfd],
    0x9000,
  );
  guest.vcpus.resume();
  guest.serveUntil(() => started.size === CPUS - 1);
  guest.vcpus.pause();
  assert.deepEqual(
    [...started].sort((a, b) => a - b),
    [...started].map((_, i) => i + 1),
  );
  assert.equal(guest.vcpus.snapshot().length, CPUS);
});

test('eight CPUs: the first starts the others, each counts, all are paused and go on', { skip }, async () => {
  const CPUS = 8;
  const COUNTERS = 0x7000;
  let reports = 0;
  await using guest = rig(
    [
      ...[0xb8, 0x00, 0x03, 0xe0, 0xfe], // mov eax, fee00300h: the interrupt command register
      ...[0xc7, 0x00, 0x00, 0x45, 0x0c, 0], // INIT to all but this one
      ...[0xc7, 0x00, 0x09, 0x46, 0x0c, 0], // startup at 9000h
      ...[HLT, 0xeb, 0xfd],
    ],
    CPUS,
    () => reports++,
  );
  // In real mode at 0900h:0: its number from CPUID, one report, then it counts in a word of its own for ever.
  guest.memory.set(
    [
      ...[0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2], // mov eax, 1; cpuid
      ...[0x66, 0xc1, 0xeb, 0x18, 0xc1, 0xe3, 0x02], // shr ebx, 24; shl bx, 2
      ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
      ...[0xe6, 0x55], // out 55h, al
      ...[0xff, 0x87, COUNTERS & 0xff, COUNTERS >> 8, 0xeb, 0xfa], // l: inc word [bx + counters]; jmp l
    ],
    0x9000,
  );
  const counters = new Uint16Array(guest.memory.buffer, guest.memory.byteOffset + COUNTERS, CPUS * 2);
  const counts = () => Array.from({ length: CPUS }, (_, cpu) => Atomics.load(counters, cpu * 2));
  guest.vcpus.resume();
  guest.serveUntil(() => reports === CPUS - 1);
  for (let round = 0; round < 3; round++) {
    guest.vcpus.resume();
    const before = counts();
    guest.serveUntil(() => counts().every((count, cpu) => cpu === 0 || count !== before[cpu]));
    guest.vcpus.pause();
    const still = counts();
    assert.equal(guest.vcpus.snapshot().length, CPUS);
    assert.deepEqual(counts(), still);
  }
});

test('a pause stands still between two instructions, with answers taken in', { skip }, async () => {
  let [reads, inputs] = [0, 0];
  const IN_LOOP = [0xe4, 0x10, 0xeb, 0xfc]; // l: in al, 10h; jmp l
  await using guest = rig(IN_LOOP, 1, () => inputs++);
  for (let i = 0; i < 30; i++) {
    guest.vcpus.resume();
    const rest = reads + 5;
    guest.serveUntil(() => ++reads >= rest);
    guest.vcpus.pause();
    const [{ rip, general }] = guest.vcpus.snapshot() as { rip: bigint; general: bigint[] }[];
    assert.ok(rip === BigInt(CODE) || rip === BigInt(CODE + 2), `${rip}`);
    if (rip === BigInt(CODE + 2)) assert.equal(general[0] & 0xffn, 0xffn);
  }
  assert.equal(inputs, 0);
});

test('CPUs that were never started, that sleep and that are busy end alike', { skip }, async () => {
  for (const code of [
    [HLT, 0xeb, 0xfd],
    [0xeb, 0xfe],
  ]) {
    await using guest = rig(code, 3, () => {});
    guest.vcpus.resume();
    guest.vcpus.wait(1e6);
  }
  await using _unstarted = rig([HLT], 2, () => {});
});

/** mov eax, fef00000h; l: mov dword [rax + at], 7 for each; out 55h, al; jmp l */
const RING = (...at: number[]) => {
  const begin = [0xb8, 0x00, 0x00, 0xf0, 0xfe];
  const loop = [...at.flatMap((offset) => [0xc7, 0x40, offset, 7, 0, 0, 0]), 0xe6, 0x55];
  return [...begin, ...loop, 0xeb, 0x100 - loop.length - 2];
};

test('doorbells: rung without an exit, and gone when they are taken away', { skip }, async () => {
  const [BELL, OTHER] = [0xfef0_0004, 0xfef0_0008];
  const rings = { early: 0, late: 0 };
  let outs = 0;
  await using guest = rig(
    RING(4, 8),
    1,
    () => outs++,
    { bind: (doorbells) => doorbells.bind(BELL, () => rings.early++) }, // before there are CPUs
  );
  const take = guest.doorbells.bind(OTHER, () => rings.late++);
  assert.equal(
    guest.doorbells.bind(OTHER, () => {}),
    undefined,
    'the place is taken',
  );
  guest.vcpus.resume();
  guest.serveUntil(() => outs > 20 && rings.early > 0 && rings.late > 0);
  assert.equal(guest.mmioWrites(), 0);
  take?.();
  const { late } = rings;
  guest.serveUntil(() => guest.mmioWrites() > 20);
  assert.equal(rings.late, late);
});

test('a pause has heard every doorbell that was rung before it', { skip }, async () => {
  let [rings, outs] = [0, 0];
  await using guest = rig(RING(4), 1, () => outs++, {
    bind: (doorbells) => doorbells.bind(0xfef0_0004, () => rings++),
  });
  for (let i = 0; i < 30; i++) {
    guest.vcpus.resume();
    const [rest, heard] = [outs + 2, rings]; // the first one may belong to a ring before the last pause
    while (outs < rest) guest.vcpus.serve();
    guest.vcpus.pause();
    assert.ok(rings > heard, `${i}`);
  }
});

test('split irqchip: the end of a level-triggered interrupt comes out to the I/O APIC outside', { skip }, async () => {
  const [HANDLER, LEVEL, EDGE] = [0x1800, 0x61, 0x62];
  const reports: number[] = [];
  await using guest = rig(
    // The local APIC on: mov eax, fee000f0h; mov dword [rax], 1ffh; out 12h, al; sti; l: hlt; jmp l
    [0xb8, 0xf0, 0x00, 0xe0, 0xfe, 0xc7, 0x00, 0xff, 0x01, 0, 0, 0xe6, 0x12, 0xfb, HLT, 0xeb, 0xfd],
    1,
    (port) => reports.push(port),
    { kernelIrqchip: 'split' },
  );
  const { interrupts } = guest;
  assert.ok(interrupts?.kind === 'split');
  // End of interrupt: mov eax, fee000b0h; mov dword [rax], 0; out 11h, al; sti; l: hlt; jmp l
  guest.memory.set([0xb8, 0xb0, 0x00, 0xe0, 0xfe, 0xc7, 0x00, 0, 0, 0, 0, 0xe6, 0x11, 0xfb, HLT, 0xeb, 0xfd], HANDLER);
  const view = new DataView(guest.memory.buffer, guest.memory.byteOffset);
  for (const vector of [LEVEL, EDGE])
    view.setBigUint64(vector * 16, (0x8e00n << 32n) | (0x10n << 16n) | BigInt(HANDLER), true);
  const [address, level] = [0xfee0_0000, 0xc000];
  interrupts.setIoApicMessages([undefined, { address, data: level | LEVEL }, { address, data: EDGE }]);
  guest.vcpus.resume();
  guest.serveUntil(() => reports.length === 1);
  interrupts.msi.send(address, EDGE);
  guest.serveUntil(() => reports.length === 2);
  assert.deepEqual(guest.ends, []);
  interrupts.msi.send(address, level | LEVEL);
  guest.serveUntil(() => reports.length === 3 && guest.ends.length > 0);
  assert.deepEqual(guest.ends, [LEVEL]);
});
