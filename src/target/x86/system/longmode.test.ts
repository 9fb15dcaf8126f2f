import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { at, gate, longMode, sel, toUser } from './testing/machine.ts';

const RSP = st.gpr[4];

test('an interrupt from user mode switches to RSP0 and pushes SS, RSP, RFLAGS, CS, RIP (SDM vol. 3, 6.14)', () => {
  const m = longMode();
  gate(m, 0x20, sel.code64, 0xffff_8000_1234_5678n, 14, 0, true);
  toUser(m, sel.user64, 0xa123);
  assert.equal(m.system.deliverInterrupt(0x20), 1);
  assert.equal(m.big(st.linear), 0xffff_8000_1234_5678n);
  assert.equal(m.big(RSP), BigInt(at.stack - 40));
  const frame = [0, 1, 2, 3, 4].map((i) => m.u64(at.stack - 40 + 8 * i));
  assert.deepEqual(frame, [0x6000n, BigInt(sel.user64 | 3), 0x202n, 0xa123n, BigInt(sel.userData | 3)]);
  assert.equal(m.cpu.get(st.cpl), 0);
  assert.equal(m.cpu.get(st.ss.selector), 0);
  assert.equal(m.cpu.get(st.eflags) & st.flag.IF, 0);
});

test('IRETQ returns to where the interrupt came from', () => {
  const m = longMode();
  gate(m, 0x20, sel.code64, 0x9000n, 14, 0, true);
  toUser(m, sel.user64, 0xa123);
  m.system.deliverInterrupt(0x20);
  assert.equal(m.run('iret', 8), 1);
  assert.equal(m.big(st.linear), 0x6000n);
  assert.equal(m.big(RSP), 0xa123n);
  assert.equal(m.cpu.get(st.cpl), 3);
  assert.equal(m.cpu.get(st.ss.selector), sel.userData | 3);
  assert.notEqual(m.cpu.get(st.eflags) & st.flag.IF, 0);
});

test('IRETQ to compatibility mode and back', () => {
  const m = longMode();
  gate(m, 0x80, sel.code64, 0x9000n, 15, 3, true);
  toUser(m, sel.user32);
  assert.equal(m.cpu.get(st.cs.rights) & 0x2000, 0);
  assert.equal(m.run('interrupt', 0x80, 0), 1);
  assert.equal(m.cpu.get(st.cpl), 0);
  assert.equal(m.u64(at.stack - 40), 0x6002n);
  assert.notEqual(m.cpu.get(st.eflags) & st.flag.IF, 0, 'a trap gate leaves IF');
  assert.equal(m.run('iret', 8), 1);
  assert.equal(m.big(st.linear), 0x6002n);
  assert.equal(m.big(RSP), BigInt(at.userStack));
});

test('an interrupt at CPL 0 aligns the stack to 16 bytes and keeps SS', () => {
  const m = longMode();
  gate(m, 0x21, sel.code64, 0x9000n, 14, 0, true);
  m.cpu.setLow(RSP, 0x8008);
  m.system.deliverInterrupt(0x21);
  assert.equal(m.big(RSP), BigInt(0x8000 - 40));
  assert.equal(m.u64(0x8000 - 16), 0x8008n);
  assert.equal(m.cpu.get(st.ss.selector), sel.data0);
});

test('a page fault pushes its error code, sets RF in the pushed flags and loads CR2', () => {
  const m = longMode();
  gate(m, 14, sel.code64, 0x9000n, 14, 0, true);
  toUser(m);
  m.cpu.setPair(st.faultAddress, 0x1234, 0x7fff);
  m.system.deliverException(14, 6);
  assert.equal(m.u64(at.stack - 48), 6n);
  assert.equal(m.u64(at.stack - 24), 0x1_0202n);
  assert.equal(m.big(st.cr2), 0x7fff_0000_1234n);
});

test('IST replaces the stack even without a change of privilege', () => {
  const m = longMode();
  gate(m, 2, sel.code64, 0x9000n, 14, 0, true, 1);
  m.system.deliverNmi();
  assert.equal(m.big(RSP), BigInt(at.stack + 0x1000 - 40));
  assert.equal(m.cpu.get(st.nmiBlocked), 1);
  m.run('iret', 8);
  assert.equal(m.cpu.get(st.nmiBlocked), 0);
  assert.equal(m.big(RSP), BigInt(at.stack));
});

test('INT n checks the gate: DPL, presence, type, table limit', () => {
  const m = longMode();
  gate(m, 0x30, sel.code64, 0x9000n, 14, 0, true);
  gate(m, 0x31, sel.code32, 0x9000n, 14, 3, true);
  gate(m, 0x32, sel.code64, 0x9000n, 5, 3, true);
  toUser(m);
  assert.equal(m.run('interrupt', 0x30, 0), `#13(${0x30 * 8 + 2})`);
  assert.equal(m.run('interrupt', 0x31, 0), `#13(${sel.code32})`, 'a handler must be 64-bit code');
  assert.equal(m.run('interrupt', 0x32, 0), `#13(${0x32 * 8 + 2})`);
  m.cpu.set(st.idtr.limit, 0x30 * 16 + 14);
  assert.equal(m.run('interrupt', 0x30, 0), `#13(${0x30 * 8 + 2})`);
});

test('a fault while delivering a contributory exception is a double fault; a fault in that one shuts down', () => {
  const m = longMode();
  gate(m, 8, sel.code64, 0x9000n, 14, 0, true);
  assert.equal(m.system.deliverException(13, 0), 1);
  assert.equal(m.big(st.linear), 0x9000n);
  assert.equal(m.u64(at.stack - 48), 0n);
  const dead = longMode();
  assert.equal(dead.system.deliverException(13, 0), 2);
  assert.equal(dead.cpu.get(st.activity), st.activities.shutdown);
});

test('a benign exception followed by a fault gives that fault, with EXT in its error code', () => {
  const m = longMode();
  gate(m, 13, sel.code64, 0x9000n, 14, 0, true);
  m.system.deliverException(6, 0);
  assert.equal(m.u64(at.stack - 48), BigInt(6 * 8 + 2 + 1));
});

test('SYSCALL and SYSRET (SDM vol. 2)', () => {
  const m = longMode();
  m.cpu.setPair(st.star, 0, (sel.user32 << 16) | sel.code64);
  m.cpu.setBig(st.lstar, 0xffff_ffff_8100_0000n);
  m.cpu.setBig(st.sfmask, 0x200n);
  assert.equal(m.run('syscall'), '#6(0)', 'EFER.SCE is off');
  m.cpu.set(st.efer, m.cpu.get(st.efer) | 1);
  toUser(m);
  m.run('syscall');
  assert.equal(m.big(st.linear), 0xffff_ffff_8100_0000n);
  assert.equal(m.big(st.gpr[1]), 0x6002n);
  assert.equal(m.big(st.gpr[11]), 0x202n);
  assert.equal(m.cpu.get(st.eflags) & st.flag.IF, 0);
  assert.deepEqual(
    [m.cpu.get(st.cpl), m.cpu.get(st.cs.selector), m.cpu.get(st.ss.selector)],
    [0, sel.code64, sel.data0],
  );
  assert.equal(m.run('sysret', 8), 1);
  assert.equal(m.big(st.linear), 0x6002n);
  assert.deepEqual(
    [m.cpu.get(st.cpl), m.cpu.get(st.cs.selector), m.cpu.get(st.ss.selector)],
    [3, sel.user64 | 3, sel.userData | 3],
  );
  assert.notEqual(m.cpu.get(st.eflags) & st.flag.IF, 0);
  assert.equal(m.run('sysret', 8), '#13(0)', 'only at CPL 0');
});

test('SYSRET to a non-canonical address faults at CPL 0', () => {
  const m = longMode();
  m.cpu.set(st.efer, m.cpu.get(st.efer) | 1);
  m.cpu.setBig(st.gpr[1], 0x8000_0000_0000n);
  assert.equal(m.run('sysret', 8), '#13(0)');
  assert.equal(m.cpu.get(st.cpl), 0);
});

test('SYSENTER and SYSEXIT', () => {
  const m = longMode();
  assert.equal(m.run('sysenter'), '#13(0)', 'SYSENTER_CS is null');
  m.cpu.setLow(st.sysenterCs, sel.code64);
  m.cpu.setLow(st.sysenterEip, 0x9000);
  m.cpu.setLow(st.sysenterEsp, 0x7f00);
  toUser(m);
  m.run('sysenter');
  assert.equal(m.big(st.linear), 0x9000n);
  assert.equal(m.big(RSP), 0x7f00n);
  m.cpu.setLow(st.gpr[2], 0x6100);
  m.cpu.setLow(st.gpr[1], 0xa000);
  m.run('sysexit', 8);
  assert.equal(m.big(st.linear), 0x6100n);
  assert.deepEqual(
    [m.cpu.get(st.cpl), m.cpu.get(st.cs.selector), m.cpu.get(st.ss.selector)],
    [3, (sel.code64 + 32) | 3, (sel.code64 + 40) | 3],
  );
});

test('IRET checks its target', () => {
  const m = longMode();
  const frame = (ip: bigint, cs: number, flags: number, rsp: bigint, ss: number) => {
    [ip, BigInt(cs), BigInt(flags), rsp, BigInt(ss)].forEach((v, i) => {
      m.setU64(0x7000 + 8 * i, v);
    });
    m.cpu.setLow(RSP, 0x7000);
    return m.run('iret', 8);
  };
  assert.equal(frame(0n, 0, 2, 0n, 0), '#13(0)', 'null CS');
  assert.equal(frame(0x8000_0000_0000n, sel.code64, 2, 0n, 0), '#13(0)', 'non-canonical RIP');
  assert.equal(frame(0n, sel.data0, 2, 0n, 0), `#13(${sel.data0})`, 'data segment as CS');
  assert.equal(frame(0n, sel.user64 | 3, 2, 0n, sel.data0), `#13(${sel.data0})`, 'SS with the wrong RPL');
  assert.equal(frame(0n, sel.user64 | 3, 2, 0n, 0), '#13(0)', 'null SS at CPL 3');
  assert.equal(m.big(RSP), 0x7000n, 'RSP is as before');
  m.cpu.set(st.eflags, m.cpu.get(st.eflags) | st.flag.NT);
  assert.equal(frame(0n, sel.code64, 2, 0x8000n, 0), '#13(0)', 'NT in long mode');
  m.cpu.set(st.eflags, 2);
  assert.equal(frame(0x5000n, sel.code64, 2, 0x8000n, 0), 1, 'null SS at CPL 0');
});

test('a 64-bit call gate changes stack and privilege, and far RET comes back', () => {
  const m = longMode();
  const offset = 0x9000n;
  m.setU64(at.gdt + sel.callGate, offset | (BigInt(sel.code64) << 16n) | (0xecn << 40n));
  m.setU64(at.gdt + sel.callGate + 8, 0n);
  toUser(m);
  assert.equal(m.run('farCall', sel.callGate | 3, 0, 4), 1);
  assert.equal(m.big(st.linear), offset);
  assert.equal(m.cpu.get(st.cpl), 0);
  assert.deepEqual(
    [0, 1, 2, 3].map((i) => m.u64(at.stack - 32 + 8 * i)),
    [0x6002n, BigInt(sel.user64 | 3), BigInt(at.userStack), BigInt(sel.userData | 3)],
  );
  assert.equal(m.run('farReturn', 0, 8), 1);
  assert.equal(m.big(st.linear), 0x6002n);
  assert.equal(m.big(RSP), BigInt(at.userStack));
  assert.equal(m.cpu.get(st.cpl), 3);
});

test('a non-canonical stack pointer gives #SS', () => {
  const m = longMode();
  m.cpu.setBig(RSP, 0x8000_0000_0010n);
  assert.equal(m.run('farCall', sel.code64, 0x5000, 8), '#12(0)');
});

test('HLT leaves with the next instruction in `linear`; an interrupt wakes the CPU', () => {
  const m = longMode();
  gate(m, 0x20, sel.code64, 0x9000n, 14, 0, true);
  assert.equal(m.run('hlt'), 2);
  assert.equal(m.cpu.get(st.activity), st.activities.halted);
  assert.equal(m.big(st.linear), 0x5002n);
  m.system.deliverInterrupt(0x20);
  assert.equal(m.cpu.get(st.activity), st.activities.running);
});
