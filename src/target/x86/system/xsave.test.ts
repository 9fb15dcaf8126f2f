import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { cr0Bits, cr4Bits } from './context.ts';
import { longMode, type Machine, toUser } from './testing/machine.ts';

const area = 0x2_0000;

function xsaveMachine(model = 'max'): Machine {
  const m = longMode(model);
  m.cpu.set(st.cr4, cr4Bits.PAE | cr4Bits.OSXSAVE | cr4Bits.OSFXSR);
  m.cpu.setLow(st.xcr0, 7);
  return m;
}

/** Fills all registers with recognisable values. */
function fill(m: Machine): void {
  const { cpu } = m;
  cpu.set(st.fpuControl, 0x27f);
  cpu.set(st.fpuStatus, 0x4100);
  cpu.set(st.fpuTop, 5);
  cpu.set(st.fpuTags, 0xe0);
  cpu.set(st.mxcsr, 0x1fa0);
  for (let i = 0; i < 8; i++) {
    cpu.setBig(st.fprSignificand[i], 0x8000_0000_0000_0000n + BigInt(i));
    cpu.set(st.fprExponent[i], 0x4000 + i);
  }
  for (let i = 0; i < 16; i++) {
    cpu.bytes.fill(0x10 + i, st.xmm[i].offset, st.xmm[i].offset + 16);
    cpu.bytes.fill(0x40 + i, st.ymmHigh[i].offset, st.ymmHigh[i].offset + 16);
  }
}

function registers(m: Machine): Uint8Array {
  return m.cpu.bytes.slice(st.fpuControl.offset, st.ymmHigh[15].offset + 16);
}

function clear(m: Machine): void {
  m.cpu.bytes.fill(0, st.fprSignificand[0].offset, st.ymmHigh[15].offset + 16);
}

function setRequest(m: Machine, low: number): void {
  m.cpu.setLow(st.gpr[0], low);
  m.cpu.setLow(st.gpr[2], 0);
}

test('FXSAVE layout (SDM vol. 1, 10.5.1) and FXRSTOR', () => {
  const m = xsaveMachine();
  fill(m);
  const before = registers(m);
  assert.equal(m.run('fxsave', area, 1), 0);
  assert.deepEqual(
    [m.u16(area), m.u16(area + 2), m.ram[area + 4], m.u32(area + 24), m.u32(area + 28)],
    [0x27f, 0x6900, 0xe0, 0x1fa0, 0xffff],
  );
  assert.equal(m.u64(area + 32), 0x8000_0000_0000_0005n, 'ST(0) is physical register TOP');
  assert.equal(m.u16(area + 40), 0x4005);
  assert.equal(m.ram[area + 160 + 15 * 16], 0x1f);
  clear(m);
  assert.equal(m.run('fxrstor', area, 1), 0);
  for (let i = 0; i < 16; i++) m.cpu.bytes.fill(0x40 + i, st.ymmHigh[i].offset, st.ymmHigh[i].offset + 16);
  assert.deepEqual(registers(m), before);
});

test('outside 64-bit mode eight XMM registers are saved', () => {
  const m = xsaveMachine();
  toUser(m, 0x18);
  fill(m);
  m.run('fxsave', area, 0);
  assert.deepEqual([m.ram[area + 160 + 7 * 16], m.ram[area + 160 + 8 * 16]], [0x17, 0]);
});

test('checks: alignment, CR0.TS, CR4.OSXSAVE, reserved MXCSR bits', () => {
  const m = xsaveMachine();
  assert.equal(m.run('fxsave', area + 8, 0), '#13(0)');
  assert.equal(m.run('xsave', area + 16, 0, 0), '#13(0)');
  m.view.setUint32(area + 24, 0x1_0000, true);
  assert.equal(m.run('fxrstor', area, 0), '#13(0)');
  m.cpu.set(st.cr0, m.cpu.get(st.cr0) | cr0Bits.TS);
  assert.equal(m.run('fxsave', area, 0), '#7(0)');
  assert.equal(m.run('xsave', area, 0, 0), '#7(0)');
  m.cpu.set(st.cr4, cr4Bits.PAE);
  assert.equal(m.run('xsave', area, 0, 0), '#6(0)');
});

test('XSAVE and XRSTOR of all components', () => {
  const m = xsaveMachine();
  fill(m);
  const before = registers(m);
  setRequest(m, -1);
  m.run('xsave', area, 1, 0);
  assert.equal(m.u64(area + 512), 7n);
  assert.equal(m.ram[area + 576 + 15 * 16], 0x4f);
  clear(m);
  setRequest(m, -1);
  assert.equal(m.run('xrstor', area, 1, 0), 0);
  assert.deepEqual(registers(m), before);
});

test('components in their initial state: XSAVEOPT leaves memory, XRSTOR initialises', () => {
  const m = xsaveMachine();
  m.ram.fill(0xcc, area + 576, area + 832);
  setRequest(m, -1);
  m.run('xsave', area, 0, 1);
  assert.equal(m.u64(area + 512), 0n);
  assert.equal(m.ram[area + 576], 0xcc);
  fill(m);
  setRequest(m, 6);
  m.run('xrstor', area, 0, 0);
  assert.equal(
    m.cpu.bytes.subarray(st.xmm[0].offset, st.ymmHigh[15].offset + 16).every((b) => b === 0),
    true,
  );
  assert.equal(m.cpu.get(st.fpuTop), 5, 'x87 was not asked for');
  setRequest(m, 1);
  m.run('xrstor', area, 0, 0);
  assert.deepEqual([m.cpu.get(st.fpuTop), m.cpu.get(st.fpuControl)], [0, 0x37f]);
});

test('XSAVE keeps the bits of XSTATE_BV that were not asked for', () => {
  const m = xsaveMachine();
  m.view.setUint32(area + 512, 4, true);
  fill(m);
  setRequest(m, 1);
  m.run('xsave', area, 0, 0);
  assert.equal(m.u64(area + 512), 5n);
});

test('XSAVEC writes XCOMP_BV; XRSTOR takes the compacted form', () => {
  const m = xsaveMachine();
  fill(m);
  const before = registers(m);
  setRequest(m, 7);
  m.run('xsave', area, 1, 2);
  assert.deepEqual([m.u64(area + 512), m.u64(area + 520)], [7n, (1n << 63n) | 7n]);
  clear(m);
  setRequest(m, 7);
  assert.equal(m.run('xrstor', area, 1, 0), 0);
  assert.deepEqual(registers(m), before);
});

test('XRSTOR refuses a malformed header', () => {
  const m = xsaveMachine();
  setRequest(m, 7);
  const attempt = (at: number, value: bigint) => {
    m.ram.fill(0, area, area + 832);
    m.view.setUint32(area + 24, 0x1f80, true);
    m.setU64(area + at, value);
    return m.run('xrstor', area, 0, 0);
  };
  assert.equal(attempt(512, 8n), '#13(0)', 'a component that does not exist');
  assert.equal(attempt(520, 7n), '#13(0)', 'XCOMP_BV without bit 63');
  assert.equal(attempt(528, 1n), '#13(0)', 'reserved bytes');
  assert.equal(attempt(24, 0x1_0000n), '#13(0)', 'MXCSR');
  assert.equal(attempt(520, 1n << 63n), 0, 'compacted, nothing in it');
});

test('a page fault in the area changes no register', () => {
  const m = xsaveMachine();
  fill(m);
  const before = registers(m);
  setRequest(m, 7);
  m.setU64(0x1_2008, 0n);
  assert.match(String(m.run('xrstor', 0x20_0000, 0, 0)), /^#14/);
  assert.match(String(m.run('fxrstor', 0x1f_fff0, 0)), /^#14/);
  assert.deepEqual(registers(m), before);
});
