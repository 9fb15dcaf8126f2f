import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { at, longMode, Machine, sel } from './testing/machine.ts';

test('power-up state (SDM vol. 3, table 9-1)', () => {
  const m = new Machine('qemu64');
  const { cpu } = m;
  assert.equal(m.big(st.linear), 0xffff_fff0n);
  assert.equal(cpu.get(st.cr0) >>> 0, 0x6000_0010);
  assert.deepEqual([cpu.get(st.cs.selector), m.big(st.cs.base)], [0xf000, 0xffff_0000n]);
  assert.equal(cpu.get(st.gpr[2]), 0x60fb1);
  assert.equal(m.big(st.dr[6]), 0xffff_0ff0n);
  assert.equal(m.big(st.pat), 0x0007_0406_0007_0406n);
  assert.equal(cpu.get(st.mxcsr), 0x1f80);
  assert.equal(m.apic.resets, 1);
});

test('RESET returns every field to its power-up value, whatever it was', () => {
  const m = new Machine();
  const initial = m.cpu.bytes.slice();
  m.cpu.bytes.fill(0xa5);
  m.system.reset();
  for (const f of st.fields) {
    const size = f.type === 'v128' ? 16 : f.type === 'i64' ? 8 : 4;
    assert.deepEqual(m.cpu.bytes.slice(f.offset, f.offset + size), initial.slice(f.offset, f.offset + size), f.name);
  }
});

test('INIT keeps x87, vectors and MSRs; an application processor waits for its startup IPI', () => {
  const m = longMode();
  m.cpu.setBig(st.lstar, 0x1234n);
  m.cpu.bytes.fill(7, st.xmm[3].offset, st.xmm[3].offset + 16);
  m.system.init();
  assert.equal(m.big(st.lstar), 0x1234n);
  assert.equal(m.cpu.bytes[st.xmm[3].offset], 7);
  assert.equal(m.big(st.linear), 0xffff_fff0n);
  assert.equal(m.cpu.get(st.efer), 0);
  assert.equal(m.cpu.get(st.activity), st.activities.running);
  m.apic.base = { low: 0xfee0_0800, high: 0 };
  m.system.init();
  assert.equal(m.cpu.get(st.activity), st.activities.waiting);
  m.system.startup(0x9a);
  assert.equal(m.big(st.linear), 0x9_a000n);
  assert.deepEqual([m.cpu.get(st.cs.selector), m.cpu.get(st.activity)], [0x9a00, st.activities.running]);
  m.system.startup(0x10);
  assert.equal(m.big(st.linear), 0x9_a000n, 'a running CPU ignores it');
});

test('boot entries: 64-bit, 32-bit, real mode', () => {
  const m = longMode();
  assert.deepEqual([m.cpu.get(st.cr0) >>> 0, m.cpu.get(st.cr4), m.big(st.cr3)], [0x8000_0031, 0x20, BigInt(at.pml4)]);
  assert.equal(m.cpu.get(st.cs.rights), 0xa09b);
  m.system.setEntry({
    mode: 'protected32',
    rip: 0x10_0000,
    registers: { rbx: 0x9000, rax: 0x2badb002 },
    gdt: { base: 0x500, limit: 0x27 },
    selectors: { code: 8, data: 0x10, task: 0x18 },
  });
  assert.deepEqual([m.cpu.get(st.cr0), m.big(st.efer), m.big(st.linear)], [0x11, 0n, 0x10_0000n]);
  assert.deepEqual([m.big(st.gpr[3]), m.big(st.gpr[0]), m.big(st.gpr[2])], [0x9000n, 0x2badb002n, 0n]);
  assert.deepEqual(
    [m.cpu.get(st.cs.rights), m.cpu.get(st.tr.selector), m.cpu.get(st.gdtr.limit)],
    [0xc09b, 0x18, 0x27],
  );
  m.system.setEntry({ mode: 'real16', rip: 0xf_fff0, registers: {} });
  assert.deepEqual([m.big(st.linear), m.big(st.cs.base), m.cpu.get(st.cs.selector)], [0xf_fff0n, 0xf_0000n, 0xf000]);
  assert.throws(() => m.system.setEntry({ mode: 'real16', rip: 0, registers: { eax: 1 } }), /unknown register 'eax'/);
  assert.throws(
    () => new Machine('qemu32').system.setEntry({ mode: 'long64', rip: 0, registers: {} }),
    /CPU model 'qemu32' has no 64-bit mode/,
  );
});

test('describe prints the registers by name', () => {
  const m = longMode();
  m.cpu.setBig(st.gpr[0], 0x1234_5678_9abc_def0n);
  const text = m.system.describe();
  assert.match(text, /^RAX=123456789abcdef0 RBX=0{16} RCX=0{16} RDX=0{16}$/m);
  assert.match(text, /^RIP=0000000000005000 RFL=00000002 \[-------\] CPL=0 HLT=0$/m);
  assert.match(text, new RegExp(`^CS =${sel.code64.toString(16).padStart(4, '0')} 0{16} ffffffff 00a09b00$`, 'm'));
  assert.match(text, /^CR0=80000031 CR2=0{16} CR3=0000000000010000 CR4=00000020$/m);
});
