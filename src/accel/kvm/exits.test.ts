/** Guests of a few instructions on /dev/kvm itself: each kind of exit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeExit, failedInstruction } from './exits.ts';
import { CAP } from './ioctls.ts';
import { exitHypercall, exitMsr, RUN_DATA, runHead } from './structures.ts';
import { CODE, enterLongMode, KIB, kvmMissing, runExits, tinyGuest } from './testing/tiny-guest.ts';

const HLT = 0xf4;
const skip = kvmMissing;
/** Set to the reason on a host whose guests have none. */
const NO_DEBUG_REGISTERS = 'VIREO_KVM_NO_DEBUG_REGISTERS';

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

test('guest debug: single steps', { skip }, () => {
  using guest = tinyGuest([0x90, 0x90, 0x90, HLT]);
  guest.vcpu.setGuestDebug({ singleStep: true });
  for (const after of [1, 2]) {
    assert.equal(runExits(guest.vcpu).at(-1)?.kind, 'debug');
    assert.equal(guest.vcpu.regs().rip, BigInt(CODE + after));
  }
  guest.vcpu.setGuestDebug({});
  assert.equal(runExits(guest.vcpu).at(-1)?.kind, 'hlt');
});

test('guest debug: a breakpoint in a debug register', { skip: process.env[NO_DEBUG_REGISTERS] ?? skip }, () => {
  using guest = tinyGuest([0x90, 0x90, 0x90, HLT]);
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

test('coalesced writes to ports', { skip }, (t) => {
  using guest = tinyGuest([0xb0, 0x11, 0xe6, 0x90, 0xb0, 0x22, 0xe6, 0x91, HLT]); // mov al, 11h; out 90h, al, and so on
  if (guest.vm.capability(CAP.COALESCED_PIO) === 0) {
    t.skip('this KVM coalesces no port writes');
    return;
  }
  guest.vm.coalesce(0x90, 2, true);
  assert.deepEqual(runExits(guest.vcpu), [{ kind: 'hlt' }]);
  assert.deepEqual(guest.vcpu.coalescedWrites(), [
    { address: 0x90, pio: true, data: Uint8Array.of(0x11) },
    { address: 0x91, pio: true, data: Uint8Array.of(0x22) },
  ]);
  guest.vm.uncoalesce(0x90, 2, true);
  guest.vcpu.setRegs({ ...guest.vcpu.regs(), rip: BigInt(CODE) });
  assert.equal(runExits(guest.vcpu)[0].kind, 'io');
});

test('a hypercall that is asked for comes out with its numbers, and its answer goes in', { skip }, (t) => {
  const MAP_GPA_RANGE = 12;
  // mov eax, 12; mov ebx, 5000h; mov ecx, 1; xor edx, edx; vmmcall (AMD) or vmcall; hlt
  using guest = tinyGuest([]);
  const { vm, vcpu } = guest;
  if ((vm.capability(CAP.EXIT_HYPERCALL) & (1 << MAP_GPA_RANGE)) === 0) {
    t.skip('this KVM lets no hypercall out');
    return;
  }
  if (guest.system.host.isPvm) {
    t.skip('a PVM does not execute hypercalls of ring 0');
    return;
  }
  const isAmd = guest.system.supportedCpuid().find((entry) => entry.function === 0)?.ebx === 0x6874_7541;
  const call = [0x0f, 0x01, isAmd ? 0xd9 : 0xc1];
  guest.memory.set([0xb8, 12, 0, 0, 0, 0xbb, 0, 0x50, 0, 0, 0xb9, 1, 0, 0, 0, 0x31, 0xd2, ...call, HLT], CODE);
  enterLongMode(guest);
  vm.enableCapability(CAP.EXIT_HYPERCALL, 1 << MAP_GPA_RANGE);
  assert.equal(runExits(vcpu).at(-1)?.kind, 'hypercall');
  const { nr, args } = exitHypercall.read(vcpu.runView, RUN_DATA);
  assert.deepEqual([nr, args[0], args[1]], [BigInt(MAP_GPA_RANGE), 0x5000n, 1n]);
  vcpu.runView.setBigUint64(RUN_DATA + exitHypercall.offsets.ret, 77n, true);
  assert.equal(runExits(vcpu).at(-1)?.kind, 'hlt');
  assert.equal(vcpu.regs().rax, 77n);
});

test('steal time: KVM writes it where the guest wants it', { skip }, (t) => {
  const [MSR_STEAL_TIME, PLACE, VERSION] = [0x4b56_4d03, 0x8000, 8];
  using guest = tinyGuest([0xe6, 0x10, HLT], { irqchip: 'full' });
  if (guest.vm.capability(CAP.STEAL_TIME) === 0) {
    t.skip('this KVM tells no steal time');
    return;
  }
  assert.deepEqual(guest.vcpu.setMsrs(new Map([[MSR_STEAL_TIME, BigInt(PLACE | 1)]])), []);
  assert.equal(guest.vcpu.msrs([MSR_STEAL_TIME]).get(MSR_STEAL_TIME), BigInt(PLACE | 1));
  runExits(guest.vcpu, ({ kind }) => kind === 'io');
  const version = new DataView(guest.memory.buffer, guest.memory.byteOffset).getUint32(PLACE + VERSION, true);
  assert.ok(version > 0 && version % 2 === 0, `version ${version}`);
});

for (const [name, reason, fill, line] of [
  [
    'the guest crashed by a system event',
    24,
    (view: DataView) => view.setUint32(RUN_DATA, 3, true),
    'the guest asked for system event 3',
  ],
  [
    'the processor refuses a state',
    9,
    (view: DataView) => {
      view.setBigUint64(RUN_DATA, 0x8000_0021n, true);
      view.setUint32(RUN_DATA + 8, 1, true);
    },
    "the processor refuses the guest's state (reason 0x80000021 on host CPU 1)",
  ],
  [
    'two events at once',
    17,
    (view: DataView) => {
      view.setUint32(RUN_DATA, 2, true);
      view.setUint32(RUN_DATA + 4, 1, true);
      view.setBigUint64(RUN_DATA + 8, 0xabcn, true);
    },
    'KVM gave up: two events at once (abc)',
  ],
  ['an exit that no machine has', 31, () => {}, 'KVM came back with dirtyRingFull, which this machine does not use'],
] as const) {
  test(`the line about an exit: ${name}`, () => {
    const run = new Uint8Array(4096);
    const view = new DataView(run.buffer);
    view.setUint32(runHead.offsets.exitReason, reason, true);
    fill(view);
    assert.equal(describeExit(run), line);
  });
}

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
