import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { cr0Bits, cr4Bits, eferBits } from './context.ts';
import { at, longMode, type Machine, protectedMode, toUser } from './testing/machine.ts';

function moveTo(m: Machine, register: number, value: number | bigint): number | string {
  return m.run('moveToCr', register, value);
}

test('CR0: combinations that must fault', () => {
  const m = longMode();
  assert.equal(moveTo(m, 0, 0x8000_0000), '#13(0)', 'PG without PE');
  assert.equal(moveTo(m, 0, 0x2000_0001), '#13(0)', 'NW without CD');
  assert.equal(moveTo(m, 0, 0x1_8000_0011n), '#13(0)', 'upper half');
  assert.equal(moveTo(m, 0, cr0Bits.PE), '#13(0)', 'PG cannot go off in 64-bit mode');
  assert.equal(moveTo(m, 1, 0), '#6(0)');
  toUser(m);
  assert.equal(moveTo(m, 0, 0x8000_0011), '#13(0)', 'CPL 3');
});

test('CR0: a change of paging bits flushes, one of TS only changes the mode', () => {
  const m = longMode();
  const changes = m.modeChanges;
  moveTo(m, 0, 0x8000_0019);
  assert.deepEqual(m.flushes, []);
  assert.ok(m.modeChanges > changes);
  moveTo(m, 0, 0x8001_0019);
  assert.deepEqual(m.flushes, [false]);
  m.run('clts');
  assert.equal(m.cpu.get(st.cr0) & cr0Bits.TS, 0);
});

test('LMSW sets PE and never clears it', () => {
  const m = protectedMode();
  m.run('lmsw', 0xe);
  assert.equal(m.cpu.get(st.cr0) & 0xf, 0xf);
});

test('entering long mode: LME, PAE and PG, with CS.L = 0', () => {
  const m = protectedMode();
  m.cpu.setLow(st.efer, eferBits.LME);
  m.cpu.setLow(st.cr3, at.pml4);
  assert.equal(moveTo(m, 0, 0x8000_0011), '#13(0)', 'no PAE');
  assert.equal(m.cpu.get(st.cr0) & cr0Bits.PG, 0);
  m.cpu.set(st.cr4, cr4Bits.PAE);
  assert.equal(moveTo(m, 0, 0x8000_0011), 0);
  assert.notEqual(m.cpu.get(st.efer) & eferBits.LMA, 0);
  assert.equal(moveTo(m, 4, 0), '#13(0)', 'PAE cannot go off in long mode');
  assert.equal(moveTo(m, 0, 0x11), 0, 'leaving is legal from compatibility mode');
  assert.equal(m.cpu.get(st.efer) & eferBits.LMA, 0);
});

test('CR3: reserved bits, PCID no-flush bit, PAE pointers', () => {
  const m = longMode();
  assert.equal(moveTo(m, 3, 1n << 63n), '#13(0)');
  assert.equal(moveTo(m, 3, 1n << 45n), '#13(0)');
  assert.equal(moveTo(m, 4, cr4Bits.PAE | cr4Bits.PCIDE), 0);
  assert.equal(moveTo(m, 3, (1n << 63n) | 0x1_0005n), 0);
  assert.equal(m.big(st.cr3), 0x1_0005n);
  assert.equal(moveTo(m, 4, cr4Bits.PAE), 0);
  assert.equal(moveTo(m, 4, cr4Bits.PAE | cr4Bits.PCIDE), '#13(0)', 'PCID must be 0 to begin');
  const p = protectedMode();
  moveTo(p, 4, cr4Bits.PAE);
  p.setU64(0x2_0000, 0x2_1003n);
  p.cpu.setLow(st.cr3, 0x2_0000);
  assert.equal(moveTo(p, 0, 0x8000_0011), '#13(0)', 'pointer with a reserved bit');
});

test('CR4: bits that the model does not have fault', () => {
  const m = longMode('qemu64');
  for (const bits of [
    cr4Bits.SMEP,
    cr4Bits.SMAP,
    cr4Bits.OSXSAVE,
    cr4Bits.LA57,
    cr4Bits.FSGSBASE,
    cr4Bits.PCIDE,
    1 << 30,
  ]) {
    assert.equal(moveTo(m, 4, cr4Bits.PAE | bits), '#13(0)');
  }
  assert.equal(moveTo(m, 4, cr4Bits.PAE | cr4Bits.PGE | cr4Bits.OSFXSR), 0);
  assert.equal(moveTo(longMode('max'), 4, cr4Bits.PAE | cr4Bits.LA57), '#13(0)', 'LA57 cannot change in long mode');
});

test('CR8 is the APIC task priority', () => {
  const m = longMode();
  assert.equal(moveTo(m, 8, 16), '#13(0)');
  moveTo(m, 8, 9);
  assert.equal(m.apic.tpr, 9);
  m.run('moveFromCr', 8);
  assert.equal(m.big(st.arg[1]), 9n);
});

test('XSETBV and XGETBV', () => {
  const m = longMode();
  const [rax, rcx, rdx] = [st.gpr[0], st.gpr[1], st.gpr[2]];
  assert.equal(m.run('xgetbv'), '#6(0)', 'CR4.OSXSAVE is off');
  moveTo(m, 4, cr4Bits.PAE | cr4Bits.OSXSAVE);
  const set = (value: number) => {
    m.cpu.setLow(rax, value);
    m.cpu.setLow(rcx, 0);
    m.cpu.setLow(rdx, 0);
    return m.run('xsetbv');
  };
  assert.equal(set(6), '#13(0)', 'x87 must be on');
  assert.equal(set(5), '#13(0)', 'AVX needs SSE');
  assert.equal(set(0xf), '#13(0)', 'unknown component');
  assert.equal(set(7), 0);
  m.cpu.setLow(rax, 0);
  m.run('xgetbv');
  assert.equal(m.big(rax), 7n);
});

test('debug registers: aliases, general detect, upper half', () => {
  const m = longMode();
  assert.equal(m.run('moveToDr', 7, 1n << 32n), '#13(0)');
  m.run('moveToDr', 4, 0xffff_ffff);
  m.run('moveFromDr', 6);
  assert.equal(m.big(st.arg[1]), 0xffff_eff0n | 0xen | 1n);
  moveTo(m, 4, cr4Bits.PAE | cr4Bits.DE);
  assert.equal(m.run('moveFromDr', 4), '#6(0)');
  m.run('moveToDr', 7, 1 << 13);
  assert.equal(m.run('moveFromDr', 0), '#1(0)');
  assert.equal(m.cpu.get(st.pendingDebug), 1 << 13);
});

test('INVLPG and INVPCID flush what they name', () => {
  const m = longMode();
  m.run('invlpg', 0xffff_8000_0000_1000n);
  m.run('invlpg', 0x8000_0000_0000n);
  assert.deepEqual(m.flushes, ['ffff8000:1000']);
  m.setU64(0x7000, 0);
  m.setU64(0x7008, 0x1234_5000);
  m.flushes = [];
  m.run('invpcid', 0, 0x7000);
  m.run('invpcid', 1, 0x7000);
  m.run('invpcid', 2, 0x7000);
  m.run('invpcid', 3, 0x7000);
  assert.deepEqual(m.flushes, ['0:12345000', 'pcid 0', false, true]);
  assert.equal(m.run('invpcid', 4, 0x7000), '#13(0)');
  m.setU64(0x7000, 1);
  assert.equal(m.run('invpcid', 0, 0x7000), '#13(0)', 'a PCID without CR4.PCIDE');
});
