import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { cr0Bits, cr4Bits, eferBits } from './context.ts';
import { pageAccess } from './paging.ts';
import { Machine } from './testing/machine.ts';

const P = 1;
const W = 2;
const U = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const G = 0x100;
const XD = 1n << 63n;
const tables = [0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000, 0x1_4000];

/** Long mode with one chain of tables, all rights above; `leaf` maps `linear` at level 0. */
function chain(linear: bigint, leaf: bigint, levels: 4 | 5 = 4, model = 'max'): Machine {
  const m = new Machine(model);
  const { cpu } = m;
  cpu.set(st.cr0, cr0Bits.PE | cr0Bits.PG | cr0Bits.WP);
  cpu.set(st.cr4, cr4Bits.PAE | (levels === 5 ? cr4Bits.LA57 : 0));
  cpu.setLow(st.efer, eferBits.LME | eferBits.LMA | eferBits.NXE);
  cpu.setLow(st.cr3, tables[0]);
  for (let level = levels - 1; level >= 0; level--) {
    const index = Number((linear >> BigInt(12 + 9 * level)) & 511n);
    const table = tables[levels - 1 - level];
    m.setU64(table + index * 8, level === 0 ? leaf : BigInt(tables[levels - level]) | 7n);
  }
  return m;
}

const low = (a: bigint) => Number(BigInt.asIntN(32, a));
const high = (a: bigint) => Number(BigInt.asIntN(32, a >> 32n));

/** The page's address, or the error code as text. */
function walk(m: Machine, linear: bigint, access: number): number | string {
  const { walker } = m.system;
  return walker.walk(low(linear), high(linear), access) ? walker.page : `#PF(${walker.error})`;
}

const kernel = 0xffff_8880_1234_5000n;
const user = 0x7fff_1234_5000n;

test('4-level translation sets accessed bits on the way and dirty on a write', () => {
  const m = chain(kernel, 0x20_3000n | BigInt(P | W));
  assert.equal(walk(m, kernel, 0), 0x20_3000);
  assert.equal(m.system.walker.canWrite, false, 'not before the page is dirty');
  const leafAt = tables[3] + Number((kernel >> 12n) & 511n) * 8;
  assert.equal(m.u32(leafAt) & (A | D), A);
  assert.equal(walk(m, kernel, pageAccess.write), 0x20_3000);
  assert.equal(m.system.walker.canWrite, true);
  assert.equal(m.u32(leafAt) & (A | D), A | D);
  for (const table of tables.slice(0, 4)) {
    const entries = Array.from({ length: 512 }, (_, i) => m.u32(table + 8 * i)).filter((e) => e & P);
    assert.deepEqual(
      entries.map((e) => e & A),
      [A],
    );
  }
});

test('5-level translation', () => {
  const linear = 0xff11_8880_1234_5000n;
  const m = chain(linear, 0x20_3000n | BigInt(P), 5);
  assert.equal(walk(m, linear, 0), 0x20_3000);
  assert.equal(walk(m, linear ^ (1n << 48n), 0), '#PF(0)');
});

test('error codes: present, write, user, fetch', () => {
  const m = chain(user, 0x20_3000n | BigInt(P | U) | XD);
  assert.equal(walk(m, user + 0x1000n, pageAccess.user | pageAccess.write), '#PF(6)');
  assert.equal(walk(m, user, pageAccess.user | pageAccess.write), '#PF(7)');
  assert.equal(walk(m, user, pageAccess.user | pageAccess.fetch), '#PF(21)');
  assert.equal(walk(m, user, pageAccess.user), 0x20_3000);
  const supervisorOnly = chain(user, 0x20_3000n | BigInt(P | W));
  assert.equal(walk(supervisorOnly, user, pageAccess.user), '#PF(5)');
  assert.equal(walk(supervisorOnly, user, pageAccess.fetch | pageAccess.user), '#PF(21)');
});

test('a failed walk leaves accessed and dirty bits alone', () => {
  const m = chain(user, 0x20_3000n | BigInt(P | U));
  walk(m, user, pageAccess.user | pageAccess.write);
  assert.equal(m.u32(tables[3] + Number((user >> 12n) & 511n) * 8) & (A | D), 0);
});

test('CR0.WP decides whether the kernel may write read-only pages', () => {
  const m = chain(kernel, 0x20_3000n | BigInt(P));
  assert.equal(walk(m, kernel, pageAccess.write), '#PF(3)');
  m.cpu.set(st.cr0, m.cpu.get(st.cr0) & ~cr0Bits.WP);
  assert.equal(walk(m, kernel, pageAccess.write), 0x20_3000);
});

test('SMEP and SMAP; EFLAGS.AC lifts SMAP for explicit accesses only', () => {
  const m = chain(user, 0x20_3000n | BigInt(P | W | U));
  m.cpu.set(st.cr4, m.cpu.get(st.cr4) | cr4Bits.SMEP | cr4Bits.SMAP);
  assert.equal(walk(m, user, pageAccess.fetch), '#PF(17)');
  assert.equal(walk(m, user, 0), '#PF(1)');
  assert.equal(walk(m, user, pageAccess.write), '#PF(3)');
  m.cpu.set(st.eflags, st.flag.AC | 2);
  assert.equal(walk(m, user, 0), 0x20_3000);
  assert.equal(m.system.walker.canExecute, false);
  assert.equal(walk(m, user, pageAccess.implicit), '#PF(1)');
});

test('reserved bits: above the physical address width, XD without NXE, PS where there is none', () => {
  const m = chain(kernel, 0x20_3000n | BigInt(P) | (1n << 45n));
  assert.equal(walk(m, kernel, 0), '#PF(9)');
  const nx = chain(kernel, 0x20_3000n | BigInt(P) | XD);
  nx.cpu.setLow(st.efer, eferBits.LME | eferBits.LMA);
  assert.equal(walk(nx, kernel, 0), '#PF(9)');
  assert.equal(walk(nx, kernel, pageAccess.fetch), '#PF(9)', 'no I/D bit without NXE and SMEP');
  const ps = chain(kernel, 0x20_3000n | BigInt(P));
  const top = tables[0] + Number((kernel >> 39n) & 511n) * 8;
  ps.setU64(top, ps.u64(top) | BigInt(PS));
  assert.equal(walk(ps, kernel, 0), '#PF(9)');
});

test('2-MiB and 1-GiB pages', () => {
  const m = chain(kernel, 0n);
  const directory = tables[2] + Number((kernel >> 21n) & 511n) * 8;
  m.setU64(directory, 0x4000_0000n | BigInt(P | W | PS | G));
  assert.equal(walk(m, kernel, 0), 0x4000_0000 + Number(kernel & 0x1f_f000n));
  assert.deepEqual([m.system.walker.sizeBits, m.system.walker.isGlobal], [21, false]);
  m.cpu.set(st.cr4, m.cpu.get(st.cr4) | cr4Bits.PGE);
  walk(m, kernel, 0);
  assert.equal(m.system.walker.isGlobal, true);
  m.setU64(directory, 0x4000_2000n | BigInt(P | W | PS));
  assert.equal(walk(m, kernel, 0), '#PF(9)', 'reserved address bit 13');
  const pointer = tables[1] + Number((kernel >> 30n) & 511n) * 8;
  m.setU64(pointer, 0x1_4000_0000n | BigInt(P | W | PS));
  assert.equal(walk(m, kernel, 0), 0x1_4000_0000 + Number(kernel & 0x3fff_f000n));
  assert.equal(m.system.walker.sizeBits, 30);
  const old = chain(kernel, 0n, 4, 'qemu64');
  old.setU64(pointer, 0x1_4000_0000n | BigInt(P | W | PS));
  assert.equal(walk(old, kernel, 0), '#PF(9)', 'qemu64 has no 1-GiB pages');
});

/** 32-bit paging: directory at 0x1_0000, table at 0x1_1000. */
function legacy(cr4: number, model = 'max'): Machine {
  const m = new Machine(model);
  m.cpu.set(st.cr0, cr0Bits.PE | cr0Bits.PG);
  m.cpu.set(st.cr4, cr4);
  m.cpu.setLow(st.cr3, 0x1_0000);
  return m;
}

test('32-bit paging: 4-KiB pages, 4-MiB pages, PSE-36', () => {
  const m = legacy(cr4Bits.PSE);
  m.view.setUint32(0x1_0000 + 4 * 0x300, 0x1_1000 | P | W, true);
  m.view.setUint32(0x1_1000 + 4 * 0x45, 0x20_3000 | P | W, true);
  assert.equal(walk(m, 0xc004_5000n, 0), 0x20_3000);
  assert.equal(walk(m, 0xc004_6000n, pageAccess.write), '#PF(2)');
  m.view.setUint32(0x1_0000 + 4 * 0x301, 0x0040_0000 | (3 << 13) | P | W | PS, true);
  assert.equal(walk(m, 0xc045_6000n, pageAccess.write), 3 * 2 ** 32 + 0x45_6000);
  assert.equal(m.system.walker.sizeBits, 22);
  assert.equal(m.u32(0x1_0000 + 4 * 0x301) & (A | D), A | D);
  m.view.setUint32(0x1_0000 + 4 * 0x301, 0x0060_0000 | P | PS, true);
  assert.equal(walk(m, 0xc045_6000n, 0), '#PF(9)', 'bit 21 is reserved');
  m.cpu.set(st.cr4, 0);
  m.view.setUint32(0x1_0000 + 4 * 0x301, 0x1_1000 | P | PS, true);
  assert.equal(walk(m, 0xc044_5000n, 0), 0x20_3000, 'without CR4.PSE the PS bit is ignored');
});

test('PAE: four page-directory pointers without rights', () => {
  const m = legacy(cr4Bits.PAE);
  m.cpu.setLow(st.efer, eferBits.NXE);
  m.setU64(0x1_0000 + 8 * 3, 0x1_1001n);
  m.setU64(0x1_1000 + 8 * 1, 0x1_2007n);
  m.setU64(0x1_2000 + 8 * 2, 0x1_0000_3000n | BigInt(P | W | U) | XD);
  assert.equal(walk(m, 0xc020_2000n, pageAccess.user | pageAccess.write), 0x1_0000_3000);
  assert.equal(walk(m, 0xc020_2000n, pageAccess.user | pageAccess.fetch), '#PF(21)');
  assert.equal(m.u32(0x1_0000 + 24), 0x1_1001, 'pointers have no accessed bit');
  m.setU64(0x1_2000 + 8 * 2, 0x3000n | BigInt(P) | (1n << 60n));
  assert.equal(walk(m, 0xc020_2000n, 0), '#PF(9)', 'bits 62:52 are reserved in PAE');
});

test('the A20 gate masks physical addresses, of tables too', () => {
  const m = legacy(0);
  m.view.setUint32(0x1_0000, 0x11_1000 | P | W, true);
  m.view.setUint32(0x1_1000 + 4 * 5, 0x30_3000 | P | W, true);
  m.cpu.set(st.a20Mask, ~(1 << 20));
  assert.equal(walk(m, 0x5000n, 0), 0x20_3000);
  m.cpu.set(st.cr0, cr0Bits.PE);
  assert.equal(walk(m, 0x12_3000n, 0), 0x02_3000);
});
