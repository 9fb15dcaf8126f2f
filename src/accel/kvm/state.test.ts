/** Every piece of state on /dev/kvm: what is written is read back, and reading changes nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IRQCHIP, ioapicState, picState } from './structures.ts';
import { kvmMissing, tinyGuest } from './testing/tiny-guest.ts';
import { MP_STATE } from './vcpu.ts';

const skip = kvmMissing;
const HLT = 0xf4;
const word = (seed: number) => BigInt.asUintN(64, 0x0123_4567_89ab_cdefn * BigInt(seed + 1));

test('general registers', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const names = Object.keys(guest.vcpu.regs()).filter((name) => name !== 'rip' && name !== 'rflags');
  const value = { ...guest.vcpu.regs(), ...Object.fromEntries(names.map((name, i) => [name, word(i)])) };
  guest.vcpu.setRegs(value);
  assert.deepEqual(guest.vcpu.regs(), value);
});

test('segments, tables and control registers', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const before = guest.vcpu.sregs();
  const value = {
    ...before,
    ds: { ...before.ds, base: 0x1_2340n, selector: 0x1234, limit: 0xffff },
    gdt: { ...before.gdt, base: 0x5000n, limit: 0x27 },
    idt: { ...before.idt, base: 0x6000n, limit: 0x7ff },
    cr2: 0xdead_b000n,
    cr3: 0x2000n,
  };
  guest.vcpu.setSregs(value);
  assert.deepEqual(guest.vcpu.sregs(), value);
});

test('x87 and SSE', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const value = {
    ...guest.vcpu.fpu(),
    fcw: 0x27f,
    fsw: 0x3800,
    ftwx: 0x80,
    fpr: Array.from({ length: 8 }, (_, i) => Uint8Array.from({ length: 16 }, (_, at) => (at < 10 ? i * 16 + at : 0))),
    xmm: Array.from({ length: 16 }, (_, i) => Uint8Array.from({ length: 16 }, (_, at) => i * 13 + at)),
  };
  guest.vcpu.setFpu(value);
  assert.deepEqual(guest.vcpu.fpu(), value);
});

test('the XSAVE area', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const region = guest.vcpu.xsave();
  const [MXCSR, XMM0, HEADER] = [24, 160, 512];
  assert.equal(region[MXCSR] | (region[MXCSR + 1] << 8), 0x1f80);
  region[0] = 0x7e;
  region[MXCSR] = 0xa0;
  region.fill(0x5a, XMM0, XMM0 + 256);
  region[HEADER] |= 3; // what is not marked in use is not loaded
  guest.vcpu.setXsave(region);
  assert.deepEqual(guest.vcpu.xsave(), region);
  assert.deepEqual([guest.vcpu.fpu().fcw & 0xff, guest.vcpu.fpu().xmm[15][15]], [0x7e, 0x5a]);
});

test('XCR0', { skip }, () => {
  using guest = tinyGuest([HLT]);
  guest.vcpu.setXcr0(3n);
  assert.equal(guest.vcpu.xcr0(), 3n);
  guest.vcpu.setXcr0(1n);
  assert.equal(guest.vcpu.xcr0(), 1n);
});

test('MSRs: those that there are, past those that there are not', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const [STAR, LSTAR, KERNEL_GS_BASE, NONE, PAT] = [0xc000_0081, 0xc000_0082, 0xc000_0102, 0x1234_5678, 0x277];
  const values = new Map([
    [STAR, 0x0023_0010_0000_0000n],
    [LSTAR, 0xffff_8000_0000_1000n],
    [KERNEL_GS_BASE, 0xffff_8880_0000_0000n],
    [PAT, 0x0007_0406_0007_0406n],
  ]);
  assert.deepEqual(guest.vcpu.setMsrs(new Map([[NONE, 1n], ...values])), [NONE]);
  assert.deepEqual(guest.vcpu.msrs([STAR, NONE, LSTAR, KERNEL_GS_BASE, PAT]), values);
});

test('all MSRs that make up a vCPU can be written back as they are read', { skip }, () => {
  using guest = tinyGuest([HLT], { irqchip: 'full' });
  const indices = guest.system.msrIndices();
  const [first, before] = [guest.vcpu.msrs(indices), guest.vcpu.msrs(indices)];
  assert.ok(before.size > 20, `only ${before.size} MSRs`);
  guest.vcpu.setMsrs(before);
  const after = guest.vcpu.msrs(indices);
  // Counters count on.
  for (const [index, value] of before)
    if (first.get(index) === value) assert.equal(after.get(index), value, `MSR 0x${index.toString(16)}`);
});

test('debug registers', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const value = { ...guest.vcpu.debugregs(), db: [0x1000n, 0x2000n, 0x3000n, 0x4000n], dr7: 0x455n };
  guest.vcpu.setDebugregs(value);
  assert.deepEqual(guest.vcpu.debugregs(), value);
});

test('pending events', { skip }, () => {
  using guest = tinyGuest([HLT], { irqchip: 'full' });
  const VALID = { nmiPending: 1, shadow: 4 };
  const before = guest.vcpu.vcpuEvents();
  const value = { ...before, nmiPending: 1, nmiMasked: 1, interruptShadow: 2, flags: VALID.nmiPending | VALID.shadow };
  guest.vcpu.setVcpuEvents(value);
  const after = guest.vcpu.vcpuEvents();
  assert.deepEqual([after.nmiPending, after.nmiMasked], [1, 1]);
  guest.vcpu.setVcpuEvents({ ...before, flags: VALID.nmiPending | VALID.shadow });
  assert.deepEqual(guest.vcpu.vcpuEvents(), before);
});

test('mp_state: an application processor waits for INIT and SIPI', { skip }, () => {
  using guest = tinyGuest([HLT], { irqchip: 'full', vcpus: 2 });
  const second = guest.addVcpu();
  assert.equal(guest.vcpu.mpState(), MP_STATE.runnable);
  assert.equal(second.mpState(), MP_STATE.uninitialized);
  second.setMpState(MP_STATE.halted);
  assert.equal(second.mpState(), MP_STATE.halted);
});

test('local APIC', { skip }, () => {
  using guest = tinyGuest([HLT], { irqchip: 'full' });
  const registers = guest.vcpu.lapic();
  const [TASK_PRIORITY, PROCESSOR_PRIORITY] = [0x80, 0xa0];
  registers[TASK_PRIORITY] = 0x20;
  guest.vcpu.setLapic(registers);
  registers[PROCESSOR_PRIORITY] = 0x20; // follows
  assert.deepEqual(guest.vcpu.lapic(), registers);
});

test('8259s and I/O APIC', { skip }, () => {
  using guest = tinyGuest([HLT], { irqchip: 'full' });
  for (const id of [IRQCHIP.picMaster, IRQCHIP.picSlave]) {
    const chip = picState.decode(guest.vm.irqchip(id));
    guest.vm.setIrqchip(id, picState.encode({ ...chip, imr: 0xfb, irqBase: 0x20 + id * 8 }));
    const { imr, irqBase } = picState.decode(guest.vm.irqchip(id));
    assert.deepEqual([imr, irqBase], [0xfb, 0x20 + id * 8]);
  }
  const chip = ioapicState.decode(guest.vm.irqchip(IRQCHIP.ioapic));
  chip.redirection[4] = 0x0100_0000_0000_0034n;
  guest.vm.setIrqchip(IRQCHIP.ioapic, ioapicState.encode(chip));
  assert.deepEqual(ioapicState.decode(guest.vm.irqchip(IRQCHIP.ioapic)), chip);
});

test('PIT', { skip }, () => {
  using guest = tinyGuest([HLT], { irqchip: 'full' });
  guest.vm.createPit();
  const state = guest.vm.pit();
  state.channels[2] = { ...state.channels[2], count: 0x1234, mode: 3, gate: 1 };
  guest.vm.setPit(state);
  const { count, mode, gate } = guest.vm.pit().channels[2];
  assert.deepEqual([count, mode, gate], [0x1234, 3, 1]);
});

test('clock: goes on from where it is set', { skip }, () => {
  using guest = tinyGuest([HLT]);
  guest.vm.setClock(5_000_000_000n);
  const nanos = guest.vm.clock();
  assert.ok(nanos >= 5_000_000_000n, `${nanos}`);
});

test('CPUID: what is set is read back', { skip }, () => {
  using guest = tinyGuest([HLT]);
  const entries = guest.system.supportedCpuid().filter((entry) => entry.function < 0x4000_0000);
  const SIGNATURE = 0x4000_0000;
  entries.push({ function: SIGNATURE, index: 0, flags: 0, eax: SIGNATURE, ebx: 1, ecx: 2, edx: 3 });
  guest.vcpu.setCpuid(entries);
  const found = guest.vcpu.cpuid().find((entry) => entry.function === SIGNATURE);
  assert.deepEqual([found?.ebx, found?.ecx, found?.edx], [1, 2, 3]);
});
