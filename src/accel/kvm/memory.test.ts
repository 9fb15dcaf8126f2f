/** Memory slots and dirty pages on /dev/kvm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeKvmHost } from '../../host/node/index.ts';
import { SlotDirtyLog } from './dirty-log.ts';
import { DirtyRing, enableDirtyRings } from './dirty-ring.ts';
import { CAP } from './ioctls.ts';
import { enterLongMode, KIB, kvmMissing, runExits, tinyGuest } from './testing/tiny-guest.ts';

const skip = kvmMissing;
const HLT = 0xf4;
const GIB = 1024 ** 3;
/** mov ax, 2000h; mov ds, ax; mov byte [0], 77h; mov al, [0]; out 10h, al; hlt */
const WRITE_AT_20000 = [0xb8, 0x00, 0x20, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x00, 0x77, 0xa0, 0x00, 0x00, 0xe6, 0x10, HLT];

for (const backing of ['anonymous', 'memfd'] as const) {
  test(`RAM that is ${backing}: guest and host see the same bytes`, { skip }, () => {
    using guest = tinyGuest(WRITE_AT_20000, { ramBytes: 256 * KIB, ram: { backing } });
    runExits(guest.vcpu);
    assert.equal(guest.memory[0x2_0000], 0x77);
  });
}

test('huge pages: RAM, or what to do to have them', { skip }, (t) => {
  try {
    using guest = tinyGuest(WRITE_AT_20000, { ramBytes: 256 * KIB, ram: { backing: 'hugepages' } });
    runExits(guest.vcpu);
    assert.equal(guest.memory[0x2_0000], 0x77);
  } catch (error) {
    assert.match((error as Error).message, /^the host has not enough huge pages for 2 MiB: .*vm\.nr_hugepages=1$/);
    t.diagnostic('this host has no huge pages reserved');
  }
});

test('RAM with advice: merged, transparent huge pages, all of it at the start', { skip }, () => {
  using guest = tinyGuest(WRITE_AT_20000, {
    ramBytes: 4096 * KIB,
    ram: { merge: true, transparentHugepages: true, preallocate: true },
  });
  runExits(guest.vcpu);
  assert.equal(guest.memory[0x2_0000], 0x77);
});

test('a shared WebAssembly.Memory is a slot', { skip }, () => {
  using guest = tinyGuest(WRITE_AT_20000);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  const address = guest.system.host.addressOf(bytes);
  const shared = { buffer: memory.buffer as SharedArrayBuffer, offset: 0, address, sizeBytes: bytes.length };
  guest.vm.setSlot({ slot: 1, base: 0x2_0000, memory: shared, offset: 0, size: bytes.length });
  runExits(guest.vcpu);
  assert.equal(bytes[0], 0x77);
});

test('a large shared WebAssembly.Memory with 64-bit addresses above the 4-GiB line', { skip }, () => {
  const memory = new WebAssembly.Memory({ address: 'i64', initial: 80000n, maximum: 80000n, shared: true } as never);
  const bytes = new Uint8Array(memory.buffer);
  using guest = tinyGuest([0xc6, 0x04, 0x25, 0, 0, 0x20, 0, 0x55, HLT]); // mov byte [200000h], 55h
  enterLongMode(guest);
  const view = new DataView(guest.memory.buffer, guest.memory.byteOffset);
  view.setBigUint64(0x4008, BigInt(4 * GIB) | 0x83n, true); // linear 2 MiB is physical 4 GiB
  const address = guest.system.host.addressOf(bytes);
  const shared = { buffer: memory.buffer as SharedArrayBuffer, offset: 0, address, sizeBytes: bytes.length };
  guest.vm.setSlot({ slot: 1, base: 4 * GIB, memory: shared, offset: 0, size: bytes.length });
  runExits(guest.vcpu);
  assert.equal(bytes[0], 0x55);
  assert.ok(bytes.length > 4 * GIB);
});

test('a read-only slot: reads are memory, writes are exits', { skip }, () => {
  using guest = tinyGuest(WRITE_AT_20000);
  const rom = guest.system.host.allocate(64 * KIB);
  new Uint8Array(rom.buffer)[0] = 0x33;
  guest.vm.setSlot({ slot: 1, base: 0x2_0000, memory: rom, offset: 0, size: 64 * KIB, readOnly: true });
  const [write, out] = runExits(guest.vcpu);
  assert.deepEqual(write, { kind: 'mmio', address: 0x2_0000, size: 1, write: true, value: 0x77 });
  assert.equal(out.value, 0x33);
});

test('a slot that is taken away is no memory any more', { skip }, () => {
  using guest = tinyGuest(WRITE_AT_20000);
  const memory = guest.system.host.allocate(64 * KIB);
  guest.vm.setSlot({ slot: 1, base: 0x2_0000, memory, offset: 0, size: 64 * KIB });
  guest.vm.removeSlot(1);
  const [write] = runExits(guest.vcpu);
  assert.equal(write.kind, 'mmio');
});

test('dirty log: the pages written since it was taken', { skip }, () => {
  using guest = tinyGuest(WRITE_AT_20000, { ramBytes: 256 * KIB });
  const slot = { slot: 0, base: 0, memory: guest.ram, offset: 0, size: 256 * KIB, logDirtyPages: true };
  guest.vm.setSlot(slot);
  runExits(guest.vcpu);
  assert.equal(guest.vm.dirtyBitmap(0, slot.size)[0x20 >> 3] & 1, 1);
  assert.ok(guest.vm.dirtyBitmap(0, slot.size).every((byte) => byte === 0));
});

test("a machine's dirty log: what its guest and its devices wrote, in pages of all of RAM", { skip }, () => {
  using guest = tinyGuest(WRITE_AT_20000);
  const { vm, system } = guest;
  const ram = system.host.allocateRam(56 * KIB, {});
  // Pages 0 to 11 at 2_0000h and the next two at 4 GiB: the second slot's bits begin inside a byte.
  const slots = [
    { slot: 1, base: 0x2_0000, memory: ram, offset: 0, size: 48 * KIB },
    { slot: 2, base: 4 * GIB, memory: ram, offset: 48 * KIB, size: 8 * KIB },
  ];
  for (const slot of slots) vm.setSlot(slot);
  const log = new SlotDirtyLog(vm, slots);
  assert.equal(log.take(new Uint8Array(2)), 0);
  log.start();
  runExits(guest.vcpu);
  log.written(4 * GIB + 4095, 2);
  const bitmap = Uint8Array.of(0x80, 0);
  assert.equal(log.take(bitmap), 3);
  assert.deepEqual([...bitmap], [0x81, 0x30]);
  assert.equal(log.take(bitmap), 0);
  log.written(0x2_0000, 1);
  log.stop();
  log.written(0x2_0000, 1);
  log.start();
  assert.equal(log.take(bitmap), 0);
});

test('dirty ring: the same, a list a vCPU', { skip }, (t) => {
  const ENTRIES = 1024;
  using guest = tinyGuest(WRITE_AT_20000, { ramBytes: 256 * KIB, prepare: (vm) => enableDirtyRings(vm, ENTRIES) });
  if (guest.vm.capability(CAP.DIRTY_LOG_RING) + guest.vm.capability(CAP.DIRTY_LOG_RING_ACQ_REL) === 0) {
    t.skip('this KVM has no dirty rings');
    return;
  }
  const ring = new DirtyRing(guest.vm, guest.vcpu, ENTRIES);
  guest.vm.setSlot({ slot: 0, base: 0, memory: guest.ram, offset: 0, size: 256 * KIB, logDirtyPages: true });
  runExits(guest.vcpu);
  assert.ok(ring.take().some(({ slot, page }) => slot === 0 && page === 0x20));
  assert.deepEqual(ring.take(), []);
});

test('dirty ring: a full one is an exit, and no page is lost', { skip }, (t) => {
  const [ENTRIES, FIRST, PAGES, RAM_BYTES] = [1024, 0x200, 1500, 8192 * KIB];
  const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
  using guest = tinyGuest(
    [
      ...[0xbf, ...dword(FIRST * 4 * KIB), 0xb9, ...dword(PAGES)], // mov edi, first page; mov ecx, pages
      ...[0x88, 0x0f, 0x81, 0xc7, ...dword(4 * KIB), 0xff, 0xc9, 0x75, 0xf4, HLT], // l: mov [rdi], cl; add edi, 4096; dec ecx; jnz l
    ],
    { ramBytes: RAM_BYTES, prepare: (vm) => enableDirtyRings(vm, ENTRIES) },
  );
  if (guest.vm.capability(CAP.DIRTY_LOG_RING) + guest.vm.capability(CAP.DIRTY_LOG_RING_ACQ_REL) === 0) {
    t.skip('this KVM has no dirty rings');
    return;
  }
  if (guest.system.host.isPvm) {
    t.skip('a PVM may emulate more instructions than a ring has entries before it looks whether the ring is full');
    return;
  }
  enterLongMode(guest);
  const view = new DataView(guest.memory.buffer, guest.memory.byteOffset);
  for (let i = 1; i < 4; i++) view.setBigUint64(0x4000 + i * 8, BigInt(i * 2048 * KIB) | 0x83n, true);
  const ring = new DirtyRing(guest.vm, guest.vcpu, ENTRIES);
  guest.vm.setSlot({ slot: 0, base: 0, memory: guest.ram, offset: 0, size: RAM_BYTES, logDirtyPages: true });
  const seen = new Set<number>();
  const kinds: string[] = [];
  do {
    kinds.push(runExits(guest.vcpu).at(-1)?.kind ?? '');
    for (const { page } of ring.take()) seen.add(page);
  } while (kinds.at(-1) === 'dirtyRingFull');
  assert.equal(kinds.at(-1), 'hlt');
  assert.ok(kinds.length > 1, 'the ring was never full');
  for (let page = FIRST; page < FIRST + PAGES; page++) assert.ok(seen.has(page), `page ${page}`);
});

test('more than 4 GiB of RAM, above the 4-GiB line too', { skip }, () => {
  const host = nodeKvmHost();
  const ram = host.allocateRam(6 * GIB, {});
  assert.equal(ram.address % (2n * 1024n * 1024n), 0n);
  const bytes = new Uint8Array(ram.buffer, ram.offset, 6 * GIB);
  bytes[6 * GIB - 1] = 9;
  assert.equal(new Uint8Array(ram.buffer)[ram.offset + 6 * GIB - 1], 9);
  using guest = tinyGuest([0x8a, 0x04, 0x25, 0xff, 0xff, 0x3f, 0, 0xe6, 0x10, HLT]); // mov al, [3fffffh]; out 10h, al
  enterLongMode(guest);
  const view = new DataView(guest.memory.buffer, guest.memory.byteOffset);
  view.setBigUint64(0x4008, BigInt(10 * GIB - 2048 * KIB) | 0x83n, true); // linear 2 MiB is the last of them
  guest.vm.setSlot({ slot: 1, base: 4 * GIB, memory: ram, offset: 0, size: 6 * GIB });
  assert.equal(runExits(guest.vcpu)[0].value, 9);
});
