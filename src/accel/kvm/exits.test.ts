/** Guests of a few instructions on /dev/kvm itself: each kind of exit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeExit, failedInstruction } from './exits.ts';
import { exitMsr, RUN_DATA, runHead } from './structures.ts';
import { CODE, enterLongMode, KIB, kvmMissing, runExits, tinyGuest } from './testing/tiny-guest.ts';

const HLT = 0xf4;
const skip = kvmMissing;

test('port output and input of each width', { skip }, () => {
  using guest = tinyGuest([
    ...[0xb0, 0x41, 0xe6, 0x10], // mov al, 41h; out 10h, al
    ...[0xe5, 0x20], // in ax, 20h
    ...[0x66, 0xed], // in eax, dx
    ...[0x66, 0xe7, 0x30, HLT], // out 30h, eax
  ]);
  const exits = runExits(guest.vcpu, undefined, ({ size }) => (size === 2 ? 0x1234 : 0x89ab_cdef));
  const [out, word, dword, echoed] = exits;
  assert.deepEqual(out, { kind: 'io', address: 0x10, size: 1, write: true, value: 0x41 });
  assert.deepEqual([word.address, word.size, word.write], [0x20, 2, false]);
  assert.deepEqual([dword.size, dword.write], [4, false]);
  assert.deepEqual(echoed, { kind: 'io', address: 0x30, size: 4, write: true, value: 0x89ab_cdef });
  assert.equal(exits.at(-1)?.kind, 'hlt');
});

test('memory-mapped writes and reads outside RAM', { skip }, () => {
  using guest = tinyGuest([
    ...[0xb8, 0x00, 0xd0, 0x8e, 0xd8], // mov ax, d000h; mov ds, ax
    ...[0xc6, 0x06, 0x10, 0x00, 0x5a], // mov byte [10h], 5ah
    ...[0xa1, 0x20, 0x00], // mov ax, [20h]
    ...[0xe7, 0x30, HLT], // out 30h, ax
  ]);
  const [write, read, out] = runExits(guest.vcpu, undefined, () => 0xbeef);
  assert.deepEqual(write, { kind: 'mmio', address: 0xd_0010, size: 1, write: true, value: 0x5a });
  assert.deepEqual([read.address, read.size, read.write], [0xd_0020, 2, false]);
  assert.equal(out.value, 0xbeef);
});

test('a triple fault is a shutdown', { skip }, () => {
  using guest = tinyGuest([0x48, 0xa1, 0, 0, 0x40, 0, 0, 0, 0, 0]); // mov rax, [400000h], which no page table has
  enterLongMode(guest);
  const sregs = guest.vcpu.sregs();
  guest.vcpu.setSregs({ ...sregs, idt: { ...sregs.idt, limit: 0 } });
  assert.equal(runExits(guest.vcpu).at(-1)?.kind, 'shutdown');
});

test('an instruction that KVM cannot emulate is named with its bytes', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const { run } = guest.vcpu;
  // struct emulation_failure as the kernel fills it
  const view = guest.vcpu.runView;
  view.setUint32(runHead.offsets.exitReason, 17, true);
  view.setUint32(RUN_DATA, 1, true);
  view.setUint32(RUN_DATA + 4, 3, true);
  view.setBigUint64(RUN_DATA + 8, 1n, true);
  run.set([3, 0x0f, 0xae, 0xe8], RUN_DATA + 16);
  assert.deepEqual([...failedInstruction(run)!], [0x0f, 0xae, 0xe8]);
  assert.equal(describeExit(run), 'KVM gave up: an instruction cannot be emulated: 0f ae e8');
  assert.match(describeExit(run, true), /PVM.*--accel tcg$/);
});

test('a state that no processor takes is refused with a message', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const sregs = guest.vcpu.sregs();
  assert.throws(() => guest.vcpu.setSregs({ ...sregs, efer: 1n << 63n, cr4: 1n << 62n }), {
    name: 'UserError',
    message: /KVM refuses SET_SREGS for vCPU 0: EINVAL/,
  });
});

test('guest debug: single steps, and a breakpoint', { skip }, () => {
  using guest = tinyGuest([0x90, 0x90, 0x90, HLT]);
  guest.vcpu.setGuestDebug({ singleStep: true });
  assert.equal(runExits(guest.vcpu).at(-1)?.kind, 'debug');
  assert.equal(guest.vcpu.regs().rip, BigInt(CODE + 1));
  guest.vcpu.setGuestDebug({ breakpoints: [{ address: BigInt(CODE + 2), kind: 'execute', length: 1 }] });
  assert.equal(runExits(guest.vcpu).at(-1)?.kind, 'debug');
  assert.equal(guest.vcpu.regs().rip, BigInt(CODE + 2));
  guest.vcpu.setGuestDebug({});
  assert.equal(runExits(guest.vcpu).at(-1)?.kind, 'hlt');
});

test('MSRs that are intercepted come out with their values', { skip }, () => {
  const MSR = 0x1234;
  // mov ecx, 1234h; rdmsr; inc eax; wrmsr; hlt
  using guest = tinyGuest([0x66, 0xb9, 0x34, 0x12, 0, 0, 0x0f, 0x32, 0x66, 0x40, 0x0f, 0x30, HLT]);
  guest.vm.interceptMsrs([MSR]);
  const { vcpu } = guest;
  const view = vcpu.runView;
  assert.equal(runExits(vcpu).at(-1)?.kind, 'rdmsr');
  assert.equal(exitMsr.read(view, RUN_DATA).index, MSR);
  view.setBigUint64(RUN_DATA + exitMsr.offsets.data, 0x41n, true);
  assert.equal(runExits(vcpu).at(-1)?.kind, 'wrmsr');
  assert.deepEqual([exitMsr.read(view, RUN_DATA).index, exitMsr.read(view, RUN_DATA).data], [MSR, 0x42n]);
  assert.equal(runExits(vcpu).at(-1)?.kind, 'hlt');
});

test('coalesced writes wait in the ring until the next exit', { skip }, () => {
  using guest = tinyGuest([
    ...[0xb8, 0x00, 0xd0, 0x8e, 0xd8],
    ...[0xc6, 0x06, 0x10, 0x00, 0x11, 0xc6, 0x06, 0x11, 0x00, 0x22, HLT],
  ]);
  guest.vm.coalesce(0xd_0000, 4 * KIB);
  assert.deepEqual(runExits(guest.vcpu), [{ kind: 'hlt' }]);
  assert.deepEqual(guest.vcpu.coalescedWrites(), [
    { address: 0xd_0010, pio: false, data: Uint8Array.of(0x11) },
    { address: 0xd_0011, pio: false, data: Uint8Array.of(0x22) },
  ]);
  assert.deepEqual(guest.vcpu.coalescedWrites(), []);
});

test('real mode, 32-bit and 64-bit code compute the same', { skip }, () => {
  const body = [0xb8, 0x05, 0x00]; // mov ax, 5 in 16-bit code
  using real = tinyGuest([...body, 0x83, 0xc0, 0x07, HLT]); // add ax, 7
  runExits(real.vcpu);
  assert.equal(real.vcpu.regs().rax, 12n);
  using long = tinyGuest([]);
  long.memory.set([0x48, 0xc7, 0xc0, 0x05, 0x00, 0x00, 0x00, 0x48, 0x83, 0xc0, 0x07, HLT], CODE); // the same with rax
  enterLongMode(long);
  runExits(long.vcpu);
  assert.equal(long.vcpu.regs().rax, 12n);
});
