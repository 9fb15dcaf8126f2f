import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FlagsKind, flagsCode } from '../flags.ts';
import * as st from '../state.ts';
import { readArithmetic, readFlags } from './rflags.ts';
import { longMode, protectedMode, toUser } from './testing/machine.ts';

const { CF, PF, AF, ZF, SF, OF } = st.flag;
type Size = 1 | 2 | 4 | 8;

/** The six flags by their definitions (SDM vol. 1, 3.4.3.1), with bigints. */
function expected(
  kind: 'add' | 'adc' | 'sub' | 'sbb',
  size: Size,
  left: bigint,
  right: bigint,
): { result: bigint; flags: number } {
  const bits = size * 8;
  const carryIn = kind === 'adc' || kind === 'sbb' ? 1n : 0n;
  const isAdd = kind === 'add' || kind === 'adc';
  const exact = isAdd ? left + right + carryIn : left - right - carryIn;
  const signed = (v: bigint) => BigInt.asIntN(bits, v);
  const exactSigned = isAdd ? signed(left) + signed(right) + carryIn : signed(left) - signed(right) - carryIn;
  const result = BigInt.asUintN(bits, exact);
  const nibble = isAdd ? (left & 15n) + (right & 15n) + carryIn : (left & 15n) - (right & 15n) - carryIn;
  const ones = (result & 255n).toString(2).replaceAll('0', '').length;
  const flags =
    (exact < 0n || exact >> BigInt(bits) ? CF : 0) |
    (ones % 2 ? 0 : PF) |
    (nibble < 0n || nibble > 15n ? AF : 0) |
    (result === 0n ? ZF : 0) |
    (signed(result) < 0n ? SF : 0) |
    (signed(result) !== exactSigned ? OF : 0);
  return { result, flags };
}

test('lazy flags agree with their definitions for all kinds and sizes', () => {
  const { cpu } = longMode();
  for (const size of [1, 2, 4, 8] as const) {
    const edges = [
      0n,
      1n,
      7n,
      8n,
      15n,
      0x7fn,
      0x80n,
      0xffn,
      0x7fff_ffffn,
      0x8000_0000n,
      0xffff_ffffn,
      1n << 63n,
      (1n << 63n) - 1n,
      (1n << 64n) - 1n,
    ];
    const values = [...new Set(edges.map((v) => BigInt.asUintN(size * 8, v)))];
    for (const kind of ['add', 'adc', 'sub', 'sbb'] as const) {
      for (const left of values) {
        for (const right of values) {
          const { result, flags } = expected(kind, size, left, right);
          cpu.set(st.flagsKind, flagsCode(kind, size));
          cpu.setBig(st.flagsResult, result);
          cpu.setBig(st.flagsSource, right);
          assert.equal(readArithmetic(cpu), flags, `${kind} ${size} ${left.toString(16)} ${right.toString(16)}`);
        }
      }
    }
  }
});

test('logic, result and image kinds', () => {
  const { cpu } = longMode();
  const put = (kind: FlagsKind, result: bigint, source: number) => {
    cpu.set(st.flagsKind, flagsCode(kind, 4));
    cpu.setBig(st.flagsResult, result);
    cpu.setLow(st.flagsSource, source);
    return readArithmetic(cpu);
  };
  assert.equal(put('logic', 0x8000_0000n, -1), SF | PF);
  assert.equal(put('result', 0n, CF | OF | AF), CF | OF | AF | ZF | PF);
  assert.equal(put('image', 0n, CF | SF | st.flag.IF), CF | SF);
});

test('POPF at CPL 3 keeps IF and IOPL; at CPL 0 it changes them', () => {
  const m = longMode();
  m.run('popf', 0x3202, 8);
  assert.equal(readFlags(m.cpu), 0x3202);
  toUser(m);
  m.cpu.set(st.eflags, 0x202);
  m.run('popf', 0x3000 | CF, 8);
  assert.equal(readFlags(m.cpu), 0x203);
  m.run('popf', st.flag.AC | st.flag.ID | st.flag.VM | st.flag.RF, 8);
  assert.equal(readFlags(m.cpu), 0x202 | st.flag.AC | st.flag.ID);
  m.run('popf', 0, 2);
  assert.equal(readFlags(m.cpu), 0x202 | st.flag.AC | st.flag.ID, '16-bit POPF leaves the upper half');
});

test('PUSHF hides VM and RF', () => {
  const m = longMode();
  m.cpu.set(st.eflags, st.flag.RF | st.flag.IF | 2);
  m.run('pushf', 8);
  assert.equal(m.big(st.arg[1]), 0x202n);
});

test('CLI and STI obey IOPL; STI shadows only when IF was off', () => {
  const m = protectedMode();
  assert.equal(m.run('sti'), 0);
  assert.deepEqual([m.cpu.get(st.eflags) & 0x200, m.cpu.get(st.interruptShadow)], [0x200, 1]);
  m.cpu.set(st.interruptShadow, 0);
  m.run('sti');
  assert.equal(m.cpu.get(st.interruptShadow), 0);
  m.cpu.set(st.cpl, 3);
  assert.equal(m.run('cli'), '#13(0)');
  m.cpu.set(st.eflags, 0x3202);
  assert.equal(m.run('cli'), 0);
});

test('STAC and CLAC tell the engine only when AC changes', () => {
  const m = longMode();
  const before = m.modeChanges;
  m.run('stac');
  m.run('stac');
  assert.equal(m.modeChanges, before + 1);
  m.run('clac');
  assert.equal(m.cpu.get(st.eflags) & st.flag.AC, 0);
  assert.equal(longMode('qemu64').run('stac'), '#6(0)');
});
