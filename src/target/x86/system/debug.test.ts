import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { dataBreakpoints } from './debug.ts';
import { at, gate, longMode, sel } from './testing/machine.ts';

test('single step: the trap comes after one instruction, with DR6.BS', () => {
  const m = longMode();
  gate(m, 1, sel.code64, 0x9000n, 14, 0, true);
  m.cpu.set(st.eflags, st.flag.TF | 2);
  assert.equal(m.system.stepBoundary(), false);
  m.cpu.setLow(st.linear, 0x5002);
  assert.equal(m.system.stepBoundary(), true);
  m.setIp(0x5002, 0x5004);
  m.system.deliverTrap(1);
  assert.equal(m.big(st.linear), 0x9000n);
  assert.equal(m.u64(at.stack - 40), 0x5002n);
  assert.equal(m.cpu.get(st.dr[6]) & 0xe00f, 1 << 14);
  assert.equal(m.cpu.get(st.eflags) & st.flag.TF, 0);
  assert.equal(m.system.stepBoundary(), false);
});

test('a fault or INT n takes the place of the single-step trap', () => {
  const m = longMode();
  gate(m, 6, sel.code64, 0x9000n, 14, 0, true);
  m.cpu.set(st.eflags, st.flag.TF | 2);
  m.system.stepBoundary();
  m.system.deliverException(6, 0);
  assert.equal(m.system.stepBoundary(), false);
});

test('a code breakpoint stops before its instruction unless RF is set', () => {
  const m = longMode();
  m.run('moveToDr', 1, 0x5002);
  m.run('moveToDr', 7, 1 << 2);
  m.cpu.setLow(st.linear, 0x5000);
  assert.equal(m.system.stepBoundary(), false);
  m.cpu.setLow(st.linear, 0x5002);
  assert.equal(m.system.stepBoundary(), true);
  assert.equal(m.cpu.get(st.pendingDebug), 2);
  m.cpu.set(st.pendingDebug, 0);
  m.cpu.set(st.eflags, st.flag.RF | 2);
  assert.equal(m.system.stepBoundary(), false);
  m.cpu.setLow(st.linear, 0x5004);
  m.system.stepBoundary();
  assert.equal(m.cpu.get(st.eflags) & st.flag.RF, 0, 'RF lasts for one instruction');
});

test('data breakpoints by kind, length and overlap', () => {
  const m = longMode();
  m.run('moveToDr', 0, 0x8000);
  m.run('moveToDr', 2, 0x9004);
  // DR0: write, 4 bytes; DR2: read or write, 8 bytes.
  m.run('moveToDr', 7, 1 | (1 << 4) | (0b1101 << 16) | (0b1011 << 24));
  const met = (address: number, size: number, write: boolean) => dataBreakpoints(m.cpu, address, 0, size, write);
  assert.deepEqual(
    [met(0x8003, 1, true), met(0x8004, 1, true), met(0x7ffc, 8, true), met(0x8000, 4, false)],
    [1, 0, 1, 0],
  );
  assert.deepEqual(
    [met(0x9000, 1, false), met(0x9007, 1, true), met(0x9008, 8, false)],
    [4, 4, 0],
    'the length aligns the address',
  );
});

test('an I/O breakpoint traps after the access, with CR4.DE', () => {
  const m = longMode();
  m.run('moveToDr', 3, 0x3f8);
  m.run('moveToDr', 7, (1 << 6) | (0b0010 << 28));
  m.run('portOut', 0x3f8, 1, 0);
  assert.equal(m.cpu.get(st.pendingDebug), 0);
  m.run('moveToCr', 4, 0x28);
  m.run('portOut', 0x3f8, 1, 0);
  assert.equal(m.cpu.get(st.pendingDebug), 8);
});
