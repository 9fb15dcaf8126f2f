import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as st from '../state.ts';
import { eferBits } from './context.ts';
import { longMode, type Machine, toUser } from './testing/machine.ts';

function read(m: Machine, number: number): bigint | string {
  m.cpu.setLow(st.gpr[1], number | 0);
  const result = m.run('rdmsr');
  return result === 0 ? (m.big(st.gpr[2]) << 32n) | m.big(st.gpr[0]) : String(result);
}

function write(m: Machine, number: number, value: bigint): number | string {
  m.cpu.setLow(st.gpr[1], number | 0);
  m.cpu.setLow(st.gpr[0], Number(BigInt.asIntN(32, value)));
  m.cpu.setLow(st.gpr[2], Number(BigInt.asIntN(32, value >> 32n)));
  return m.run('wrmsr');
}

test('stored registers read back, with canonical and legality checks', () => {
  const m = longMode();
  const kernelAddress = 0xffff_ffff_8100_0000n;
  for (const number of [0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176]) {
    assert.equal(write(m, number, kernelAddress), 0);
    assert.equal(read(m, number), kernelAddress);
    assert.equal(write(m, number, 0x8000_0000_0000n), '#13(0)');
  }
  assert.equal(m.big(st.gs.base), kernelAddress);
  assert.equal(write(m, 0xc000_0103, 1n << 32n), '#13(0)');
  assert.equal(write(m, 0x277, 0x0007_0406_0007_0406n), 0);
  assert.equal(write(m, 0x277, 2n), '#13(0)', 'PAT type 2 is reserved');
});

test('unknown registers and registers of absent features fault; CPL 3 faults', () => {
  const m = longMode('qemu64');
  assert.equal(read(m, 0x1234), '#13(0)');
  assert.equal(read(m, 0xc000_0103), '#13(0)', 'qemu64 has no RDTSCP');
  assert.equal(read(m, 0xce), '#13(0)', 'Intel only');
  assert.equal(read(m, 0xc001_0010), 0n, 'AMD SYSCFG');
  assert.equal(read(longMode('Haswell-noTSX'), 0xc001_0010), '#13(0)');
  toUser(m);
  assert.equal(read(m, 0x10), '#13(0)');
});

test('EFER: LMA is kept, LME cannot change under paging, unknown bits fault', () => {
  const m = longMode();
  assert.equal(write(m, 0xc000_0080, BigInt(eferBits.SCE | eferBits.LME | eferBits.NXE)), 0);
  assert.equal(read(m, 0xc000_0080), BigInt(eferBits.SCE | eferBits.LME | eferBits.LMA | eferBits.NXE));
  assert.equal(write(m, 0xc000_0080, BigInt(eferBits.SCE)), '#13(0)');
  assert.equal(write(m, 0xc000_0080, BigInt(eferBits.LME) | (1n << 12n)), '#13(0)', 'SVME without SVM');
});

test('the TSC, its write and IA32_TSC_ADJUST (SDM vol. 3, 17.17)', () => {
  const m = longMode();
  m.tsc = 2 ** 32 + 5;
  assert.equal(read(m, 0x10), 0x1_0000_0005n);
  write(m, 0x10, 1000n);
  assert.equal(read(m, 0x10), 1000n);
  assert.equal(BigInt.asIntN(64, read(m, 0x3b) as bigint), 1000n - 0x1_0000_0005n);
  m.tsc += 7;
  write(m, 0x3b, 0n);
  assert.equal(read(m, 0x10), 0x1_0000_000cn);
  m.run('rdtsc');
  assert.deepEqual([m.big(st.gpr[0]), m.big(st.gpr[2])], [0xcn, 1n]);
});

test('the TSC deadline reaches the APIC in clock ticks', () => {
  const m = longMode();
  m.tsc = 500;
  write(m, 0x10, 0n);
  write(m, 0x6e0, 0x1_0000_0000n);
  assert.deepEqual(m.apic.deadline, { low: 500, high: 1 });
  assert.equal(read(m, 0x6e0), 0x1_0000_0000n);
  write(m, 0x6e0, 0n);
  assert.deepEqual(m.apic.deadline, { low: 0, high: 0 });
});

test('RDTSC under CR4.TSD is for CPL 0', () => {
  const m = longMode();
  m.run('moveToCr', 4, 0x24);
  assert.equal(m.run('rdtsc'), 0);
  toUser(m);
  assert.equal(m.run('rdtsc'), '#13(0)');
});

test('APIC base and x2APIC registers go to the APIC', () => {
  const m = longMode();
  assert.equal(read(m, 0x1b), 0xfee0_0900n);
  assert.equal(write(m, 0x1b, 0xfee0_09ffn), '#13(0)');
  assert.equal(write(m, 0x1b, 0xfee0_0d00n), 0);
  assert.equal(read(m, 0x802), '#13(0)', 'not in x2APIC mode');
  m.apic.x2apic.set(2, { low: 7, high: 1 });
  assert.equal(read(m, 0x802), 0x1_0000_0007n);
});

test('MTRRs are set up at a kernel entry, stored and checked', () => {
  const m = longMode();
  assert.equal(read(m, 0xfe), 0x508n);
  assert.equal(read(m, 0x2ff), 0xc06n);
  assert.equal(read(m, 0x250), 0x0606_0606_0606_0606n);
  assert.equal(read(m, 0x259), 0n);
  assert.equal(write(m, 0x200, 0xc000_0000n), 0);
  assert.equal(write(m, 0x201, 0xff_c000_0800n), 0);
  assert.equal(read(m, 0x201), 0xff_c000_0800n);
  assert.equal(write(m, 0x200, 0xc000_0002n), '#13(0)', 'type 2 is reserved');
  assert.equal(write(m, 0x201, 1n << 50n), '#13(0)', 'beyond the physical address width');
  assert.equal(write(m, 0x268, 0x0303_0303n), '#13(0)');
});
