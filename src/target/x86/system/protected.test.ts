import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { cr0Bits } from './context.ts';
import { readFlags } from './rflags.ts';
import { at, descriptor, gate, Machine, protectedMode, sel, toUser } from './testing/machine.ts';

const RSP = st.gpr[4];
const words32 = (m: Machine, address: number, count: number) =>
  Array.from({ length: count }, (_, i) => m.u32(address + 4 * i));

function setTask(m: Machine, base: number, fields: Readonly<Record<number, number>>): void {
  for (const [offset, value] of Object.entries(fields)) m.view.setUint32(base + Number(offset), value, true);
}

/** A 32-bit TSS at 0x3800 for selector `tss2`: kernel code at 0x5800, own stack. */
function secondTask(m: Machine): void {
  m.setU64(at.gdt + sel.tss2, descriptor(0x3800, 0x67, 0x89, 0));
  setTask(m, 0x3800, {
    32: 0x5800,
    36: 0x2,
    40: 0x1111,
    56: 0x9000,
    72: sel.data0,
    76: sel.code32,
    80: sel.data0,
    84: sel.data0,
    88: 0,
    92: 0,
    96: sel.ldt,
  });
}

test('an interrupt from CPL 3 takes SS0:ESP0 from the TSS; IRET returns and drops inner segments', () => {
  const m = protectedMode();
  gate(m, 0x20, sel.code32, 0x9000n, 14, 0, false);
  toUser(m, sel.user32);
  assert.equal(m.cpu.get(st.ds.rights) & 0x1_0000, 0x1_0000, 'DS of CPL 0 became null');
  m.system.deliverInterrupt(0x20);
  assert.deepEqual(words32(m, at.stack - 20, 5), [0x6000, sel.user32 | 3, 0x202, at.userStack, sel.userData | 3]);
  assert.deepEqual([m.cpu.get(st.cpl), m.cpu.get(st.ss.selector)], [0, sel.data0]);
  m.run('loadSegment', 3, sel.data0);
  m.run('loadSegment', 0, sel.userData);
  m.run('iret', 4);
  assert.deepEqual([m.big(st.linear), m.big(RSP), m.cpu.get(st.cpl)], [0x6000n, BigInt(at.userStack), 3]);
  assert.notEqual(m.cpu.get(st.ds.rights) & 0x1_0000, 0);
  assert.equal(m.cpu.get(st.es.selector), sel.userData);
});

test('a 16-bit gate pushes words', () => {
  const m = protectedMode();
  gate(m, 13, sel.code32, 0xbeef_9000n, 6, 0, false);
  m.system.deliverException(13, 0x18);
  assert.equal(m.big(st.linear), 0x9000n);
  assert.deepEqual(
    [0, 2, 4, 6].map((i) => m.u16(at.stack - 8 + i)),
    [0x18, 0x5000, sel.code32, 2],
  );
});

test('checks on the inner stack give #TS with its selector', () => {
  const m = protectedMode();
  gate(m, 0x80, sel.code32, 0x9000n, 15, 3, false);
  toUser(m, sel.user32);
  for (const [ss, expected] of [
    [0, '#10(0)'],
    [sel.userData | 3, `#10(${sel.userData})`],
    [sel.code32, `#10(${sel.code32})`],
    [0x1000, '#10(4096)'],
  ] as const) {
    m.view.setUint16(at.tss + 8, ss, true);
    assert.equal(m.run('interrupt', 0x80, 0), expected);
  }
  m.cpu.set(st.tr.limit, 8);
  assert.equal(m.run('interrupt', 0x80, 0), `#10(${sel.tss})`);
});

test('segment loads: privilege, type, presence, limit, and the accessed bit', () => {
  const m = protectedMode();
  m.setU64(at.gdt + 0x78, descriptor(0x1_0000, 0xfff, 0x12, 4));
  m.setU64(at.gdt + 0x80, descriptor(0x12_3456, 0xfff, 0x92, 4));
  assert.equal(m.run('loadSegment', 3, 0x78), '#11(120)', 'not present');
  assert.equal(m.run('loadSegment', 3, 0x100), '#13(256)', 'beyond the limit');
  assert.equal(m.run('loadSegment', 3, sel.tss), `#13(${sel.tss})`);
  assert.equal(m.run('loadSegment', 2, 0), '#13(0)', 'null SS');
  assert.equal(m.run('loadSegment', 2, sel.userData), `#13(${sel.userData})`);
  assert.equal(m.run('loadSegment', 3, 4), '#13(4)', 'no LDT');
  assert.equal(m.run('loadSegment', 3, 0x80), 0);
  assert.deepEqual([m.big(st.ds.base), m.cpu.get(st.ds.limit), m.cpu.get(st.ds.rights)], [0x12_3456n, 0xfff, 0x4093]);
  assert.equal(m.ram[at.gdt + 0x85], 0x93);
  m.run('loadSegment', 2, sel.data0);
  assert.equal(m.cpu.get(st.interruptShadow), st.shadows.stackSegment);
});

test('expand-down stack segments check from the other side', () => {
  const m = protectedMode();
  m.setU64(at.gdt + 0x78, descriptor(0, 0x7fff, 0x96, 4));
  m.run('loadSegment', 2, 0x78);
  assert.equal(m.run('farCall', sel.code32, 0x5000, 4), '#12(0)');
  m.cpu.setLow(RSP, 0x9000);
  assert.equal(m.run('farCall', sel.code32, 0x5000, 4), 1);
});

test('LDT: loads, and descriptors found through it', () => {
  const m = protectedMode();
  assert.equal(m.run('lldt', sel.data0), `#13(${sel.data0})`);
  m.run('lldt', sel.ldt);
  m.setU64(0x6008, descriptor(0x100, 0xff, 0x92, 4));
  assert.equal(m.run('loadSegment', 0, 0x0c), 0);
  assert.equal(m.big(st.es.base), 0x100n);
});

test('LAR, LSL, VERR, VERW', () => {
  const m = protectedMode();
  const ask = (name: 'lar' | 'lsl' | 'verr' | 'verw', selector: number) => {
    m.run(name, selector);
    return m.cpu.get(st.arg[2]) ? m.cpu.get(st.arg[1]) >>> 0 : -1;
  };
  assert.equal(ask('lar', sel.user32), 0xcffb00 & 0xf0ff00);
  assert.equal(ask('lsl', sel.user32), 0xffff_ffff);
  assert.equal(ask('lsl', sel.tss), 0x67);
  gate(m, 0, 0, 0n, 0, 0, false);
  m.setU64(at.gdt + 0x78, 0xec00_0000_0000n);
  assert.notEqual(ask('lar', 0x78), -1, 'a call gate has rights');
  assert.equal(ask('lsl', 0x78), -1, 'and no limit');
  assert.notEqual(ask('verw', sel.userData), -1);
  assert.equal(ask('verw', sel.user32), -1);
  assert.notEqual(ask('verr', sel.user32), -1);
  assert.equal(ask('lar', 0), -1);
  toUser(m, sel.user32);
  assert.equal(ask('verr', sel.data0), -1, 'DPL 0 from CPL 3');
});

test('a 32-bit call gate copies parameters to the inner stack; RET n releases both', () => {
  const m = protectedMode();
  m.setU64(at.gdt + sel.callGate, 0x9000n | (BigInt(sel.code32) << 16n) | (2n << 32n) | (0xecn << 40n));
  toUser(m, sel.user32, 0xa000);
  m.view.setUint32(0xa000, 0x11111111, true);
  m.view.setUint32(0xa004, 0x22222222, true);
  assert.equal(m.run('farCall', sel.callGate | 3, 0xdead, 4), 1);
  assert.equal(m.big(st.linear), 0x9000n);
  assert.deepEqual(words32(m, at.stack - 24, 6), [
    0x6002,
    sel.user32 | 3,
    0x11111111,
    0x22222222,
    0xa000,
    sel.userData | 3,
  ]);
  assert.equal(m.run('farReturn', 8, 4), 1);
  assert.deepEqual([m.big(st.linear), m.big(RSP), m.cpu.get(st.cpl)], [0x6002n, 0xa008n, 3]);
});

test('call gate and far jump checks', () => {
  const m = protectedMode();
  m.setU64(at.gdt + sel.callGate, 0x9000n | (BigInt(sel.code32) << 16n) | (0x8cn << 40n));
  toUser(m, sel.user32);
  assert.equal(m.run('farCall', sel.callGate | 3, 0, 4), `#13(${sel.callGate})`, 'gate DPL 0');
  assert.equal(m.run('farJump', sel.code32, 0x5000, 4), `#13(${sel.code32})`, 'code of CPL 0');
  assert.equal(m.run('farJump', 0, 0, 4), '#13(0)');
  assert.equal(m.run('farJump', sel.conforming, 0x5000, 4), 1, 'conforming code keeps CPL 3');
  assert.equal(m.cpu.get(st.cpl), 3);
  assert.equal(m.cpu.get(st.cs.selector), sel.conforming | 3);
});

test('RET to an inner level faults', () => {
  const m = protectedMode();
  toUser(m, sel.user32);
  m.view.setUint32(at.userStack, 0x5000, true);
  m.view.setUint32(at.userStack + 4, sel.code32, true);
  assert.equal(m.run('farReturn', 0, 4), `#13(${sel.code32})`);
});

test('JMP to a TSS saves the old task and loads the new one', () => {
  const m = protectedMode();
  secondTask(m);
  m.cpu.setLow(st.gpr[0], 0x7777);
  assert.equal(m.run('farJump', sel.tss2, 0, 4), 1);
  assert.equal(m.big(st.linear), 0x5800n);
  assert.deepEqual([m.big(st.gpr[0]), m.big(RSP)], [0x1111n, 0x9000n]);
  assert.deepEqual([m.u32(at.tss + 0x20), m.u32(at.tss + 0x28), m.u32(at.tss + 0x38)], [0x5002, 0x7777, at.stack]);
  assert.deepEqual([m.ram[at.gdt + sel.tss + 5], m.ram[at.gdt + sel.tss2 + 5]], [0x89, 0x8b]);
  assert.equal(m.cpu.get(st.tr.selector), sel.tss2);
  assert.equal(m.cpu.get(st.ldtr.selector), sel.ldt);
  assert.notEqual(m.cpu.get(st.cr0) & cr0Bits.TS, 0);
});

test('CALL to a TSS nests, and IRET goes back by the link', () => {
  const m = protectedMode();
  secondTask(m);
  assert.equal(m.run('farCall', sel.tss2, 0, 4), 1);
  assert.equal(m.u16(0x3800), sel.tss);
  assert.notEqual(readFlags(m.cpu) & st.flag.NT, 0);
  assert.deepEqual([m.ram[at.gdt + sel.tss + 5], m.ram[at.gdt + sel.tss2 + 5]], [0x8b, 0x8b]);
  assert.equal(m.run('farCall', sel.tss2, 0, 4), `#13(${sel.tss2})`, 'a busy TSS');
  m.setIp(0x5800, 0x5801);
  assert.equal(m.run('iret', 4), 1);
  assert.equal(m.big(st.linear), 0x5002n);
  assert.equal(readFlags(m.cpu) & st.flag.NT, 0);
  assert.equal(m.cpu.get(st.tr.selector), sel.tss);
  assert.equal(m.ram[at.gdt + sel.tss2 + 5], 0x89);
});

test('a double fault through a task gate pushes its error code on the new stack', () => {
  const m = protectedMode();
  secondTask(m);
  gate(m, 8, sel.tss2, 0n, 5, 0, false);
  m.system.deliverException(8, 0);
  assert.equal(m.big(st.linear), 0x5800n);
  assert.equal(m.big(RSP), 0x9000n - 4n);
  assert.equal(m.u32(0x9000 - 4), 0);
  assert.equal(m.u32(at.tss + 0x20), 0x5000, 'the fault would go on at the faulting instruction');
});

test('a bad segment in the new task faults there, with #TS', () => {
  const m = protectedMode();
  secondTask(m);
  setTask(m, 0x3800, { 84: sel.tss });
  assert.equal(m.run('farJump', sel.tss2, 0, 4), `#10(${sel.tss})`);
  assert.equal(m.big(st.currentIp), 0x5800n);
  assert.equal(m.cpu.get(st.tr.selector), sel.tss2);
});

test('16-bit TSS', () => {
  const m = protectedMode();
  m.setU64(at.gdt + sel.tss2, descriptor(0x3800, 0x2b, 0x81, 0));
  const put = (offset: number, value: number) => m.view.setUint16(0x3800 + offset, value, true);
  for (const [offset, value] of [
    [0xe, 0x5900],
    [0x10, 2],
    [0x12, 0x2222],
    [0x1a, 0x9100],
    [0x22, 0],
    [0x24, sel.code32],
    [0x26, sel.data0],
    [0x28, sel.data0],
  ])
    put(offset, value);
  assert.equal(m.run('farJump', sel.tss2, 0, 4), 1);
  assert.deepEqual(
    [m.big(st.linear), m.cpu.get(st.gpr[0]) & 0xffff, m.cpu.get(RSP) & 0xffff],
    [0x5900n, 0x2222, 0x9100],
  );
});

/** Virtual-8086 mode at 1000:0100, IOPL as given. */
function v86(ioplValue: number): Machine {
  const m = protectedMode();
  const frame = [0x100, 0x1000, 0x20202 | (ioplValue << 12), 0xfff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
  frame.forEach((value, i) => {
    m.view.setUint32(0x7000 + 4 * i, value, true);
  });
  m.cpu.setLow(RSP, 0x7000);
  assert.equal(m.run('iret', 4), 1);
  m.setIp(0x100, 0x102);
  return m;
}

test('IRET enters virtual-8086 mode; an interrupt leaves it with all segments pushed', () => {
  const m = v86(3);
  assert.equal(m.big(st.linear), 0x1_0100n);
  assert.deepEqual(
    [st.ss, st.es, st.ds, st.fs, st.gs].map((x) => m.big(x.base)),
    [0x2_0000n, 0x3_0000n, 0x4_0000n, 0x5_0000n, 0x6_0000n],
  );
  assert.equal(m.cpu.get(st.cpl), 3);
  gate(m, 0x21, sel.code32, 0x9000n, 14, 3, false);
  assert.equal(m.run('interrupt', 0x21, 0), 1);
  assert.deepEqual(
    words32(m, at.stack - 36, 9),
    [0x102, 0x1000, 0x23202, 0xfff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000],
  );
  assert.equal(readFlags(m.cpu) & st.flag.VM, 0);
  assert.notEqual(m.cpu.get(st.ds.rights) & 0x1_0000, 0);
  assert.equal(m.run('iret', 4), 1);
  assert.equal(m.big(st.linear), 0x1_0102n);
});

test('virtual-8086 mode below IOPL 3: INT n, CLI, PUSHF, IRET fault', () => {
  const m = v86(0);
  for (const [name, ...args] of [
    ['interrupt', 0x21, 0],
    ['cli'],
    ['sti'],
    ['pushf', 2],
    ['popf', 0, 2],
    ['iret', 2],
  ] as const) {
    assert.equal(m.run(name, ...args), '#13(0)', name);
  }
  assert.equal(m.run('loadSegment', 3, 0x1234), 0);
  assert.equal(m.big(st.ds.base), 0x1_2340n);
});

test('I/O: IOPL, the bitmap, and virtual-8086 mode', () => {
  const m = v86(3);
  m.view.setUint16(at.tss + 0x66, 0x68, true);
  assert.equal(m.run('ioCheck', 0x60, 1), '#13(0)', 'no bitmap within the limit');
  m.cpu.set(st.tr.limit, 0x2fff);
  assert.equal(m.run('ioCheck', 0x60, 1), 0);
  m.ram[at.tss + 0x68 + 0x60 / 8] = 4;
  assert.equal(m.run('ioCheck', 0x60, 2), 0);
  assert.equal(m.run('ioCheck', 0x61, 2), '#13(0)');
  const p = protectedMode();
  assert.equal(p.run('ioCheck', 0x60, 4), 0);
  p.run('portIn', 0x1f0, 2);
  assert.equal(p.big(st.arg[2]), 0x5678n);
  p.run('portOut', 0x80, 4, 0xffff_fffe);
  assert.deepEqual(p.portLog, ['in 1f0 2', 'out 80 4 fffffffe']);
});

test('real mode: interrupts through the vector table, IRET, far calls', () => {
  const m = new Machine();
  m.system.setEntry({ mode: 'real16', rip: 0x7c00, registers: { rsp: 0x7000 } });
  m.setIp(0x7c00, 0x7c02);
  m.view.setUint32(0x21 * 4, 0x1234_0056, true);
  assert.equal(m.run('interrupt', 0x21, 0), 1);
  assert.equal(m.big(st.linear), 0x1_2396n);
  assert.deepEqual(
    [0, 2, 4].map((i) => m.u16(0x6ffa + i)),
    [0x7c02, 0, 2],
  );
  m.run('iret', 2);
  assert.equal(m.big(st.linear), 0x7c02n);
  m.run('farCall', 0xf000, 0xe05b, 2);
  assert.equal(m.big(st.linear), 0xfe05bn);
  m.run('farReturn', 0, 2);
  assert.deepEqual([m.big(st.linear), m.big(RSP)], [0x7c02n, 0x7000n]);
  assert.equal(m.run('farJump', 0, 0x1_0000, 4), '#13(0)');
});

test('ENTER builds nested frames; BOUND compares', () => {
  const m = protectedMode();
  m.cpu.setLow(st.gpr[5], 0x7100);
  m.view.setUint32(0x70fc, 0xaaaa, true);
  m.run('enter', 0x10, 2, 4);
  assert.deepEqual(words32(m, at.stack - 12, 3), [at.stack - 4, 0xaaaa, 0x7100]);
  assert.deepEqual([m.big(st.gpr[5]), m.big(RSP)], [BigInt(at.stack - 4), BigInt(at.stack - 12 - 16)]);
  m.view.setInt32(0x7200, -5, true);
  m.view.setInt32(0x7204, 5, true);
  assert.equal(m.run('bound', -5, 0x7200, 4), 0);
  assert.equal(m.run('bound', 6, 0x7200, 4), '#5(0)');
});
