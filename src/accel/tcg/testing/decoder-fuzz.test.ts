/** Random bytes as code, in every mode: whatever they are, the host process goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BootEntry } from '../../../contract/index.ts';
import { createTcg, type Tier } from '../index.ts';
import { Random } from './differential/random.ts';
import { plainEnvironment } from './environment.ts';

const seed = 1;
const rounds = 60;
const ramSize = 1 << 20;
const sliceNanos = 2e6;
/** A slice may end late, by what one instruction or one translation takes, on a busy host too. */
const sliceLimitMillis = 1000;
/** 64-bit: tables that map the first GiB to itself, for all. */
const tables = 0x1000;
const gdt = 0x4000;
const idt = 0x5000;
const prologue = 0x7000;
const codeStart = 0x8000;
const codeEnd = ramSize - 0x1000;

interface FuzzMode {
  readonly entry: Omit<BootEntry, 'registers'>;
  /** Bytes of an interrupt gate to `target`, when the mode has an IDT of its own. */
  readonly gate?: (target: number) => readonly number[];
}

const bytes32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const gate32 = (target: number): number[] => [
  ...bytes32(target).slice(0, 2),
  8,
  0,
  0,
  0x8e,
  ...bytes32(target).slice(2),
];
const tablesInRam = { gdt: { base: gdt, limit: 0x1f }, selectors: { code: 0x08, data: 0x10 } };

const modes: Readonly<Record<string, FuzzMode>> = {
  'real mode': { entry: { mode: 'real16', rip: prologue } },
  'protected mode': { entry: { mode: 'protected32', rip: prologue, ...tablesInRam }, gate: gate32 },
  '64-bit mode': {
    entry: { mode: 'long64', rip: prologue, cr3: tables, ...tablesInRam },
    gate: (target) => [...gate32(target), 0, 0, 0, 0, 0, 0, 0, 0],
  },
};

/** Values that point into RAM, mostly; a good stack. */
function registers(r: Random): Record<string, number> {
  const names = ['rax', 'rcx', 'rdx', 'rbx', 'rbp', 'rsi', 'rdi'];
  const values = names.map((name) => [name, r.chance(80) ? r.below(ramSize) : r.u32()]);
  return { ...Object.fromEntries(values), rsp: r.below(ramSize) & ~15 };
}

/** Fills RAM with noise in which common instructions are common; exceptions lead to other noise, so that execution goes on. */
function fill(ram: Uint8Array, { gate }: FuzzMode, r: Random): void {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.length);
  for (let i = 0; i < ram.length; i += 4) view.setUint32(i, r.u32(), true);
  const common = [0x89, 0x8b, 0x01, 0x0f, 0x66, 0xf3, 0xc5, 0xc4, 0xd9, 0xeb, 0xc3, 0x48];
  for (let i = codeStart; i < ram.length; i += 1 + r.below(24)) ram[i] = r.pick(common);
  const target = () => codeStart + r.below(codeEnd - codeStart);
  // Real mode: vectors 0 to 255 as segment and offset.
  for (let i = 0; i < 256; i++) view.setUint32(4 * i, ((target() >>> 4) << 16) | r.below(16), true);
  ram.fill(0, tables, tables + 0x2000);
  view.setUint32(tables, tables + 0x1007, true);
  view.setUint32(tables + 0x1000, 0x87, true);
  const is64 = gate?.(0).length === 16;
  [0, is64 ? 0x00af_9b00 : 0x00cf_9b00, 0x00cf_9300, 0].forEach((high, i) => {
    view.setUint32(gdt + 8 * i, high ? 0xffff : 0, true);
    view.setUint32(gdt + 8 * i + 4, high, true);
  });
  // LIDT [pointer]; the pointer lies behind the jump to the first of the noise.
  const lidt = is64 ? [0x0f, 0x01, 0x1c, 0x25] : [0x0f, 0x01, 0x1d];
  const start = gate ? [...lidt, ...bytes32(prologue + 0x20)] : [];
  const jump = [0xe9, ...bytes32(target() - (prologue + start.length + 5))];
  ram.set([...start, ...(gate ? jump : [0xe9, r.below(256), r.below(0x70)])], prologue);
  ram.set([0xff, 0x0f, ...bytes32(idt), 0, 0, 0, 0], prologue + 0x20);
  for (let i = 0; i < 256 && gate; i++) ram.set(gate(target()), idt + i * gate(0).length);
}

for (const tier of ['interpreter', 'translator'] satisfies Tier[]) {
  for (const [name, mode] of Object.entries(modes)) {
    test(`random code in ${name}, ${tier}`, async (t) => {
      const { memory, createVcpu } = await createTcg({
        cpuModel: 'max',
        ramRanges: [{ base: 0, size: ramSize }],
        tier,
      });
      const vcpu = createVcpu(plainEnvironment(memory));
      const ram = memory.view(0, ramSize) as Uint8Array;
      let alive = 0;
      let longestMillis = 0;
      for (let round = 0; round < rounds; round++) {
        const r = new Random(seed, round);
        fill(ram, mode, r);
        memory.written(0, ramSize);
        vcpu.setEntry({ ...mode.entry, registers: registers(r) });
        for (let slice = 0; slice < 3; slice++) {
          const start = performance.now();
          const { kind } = vcpu.run(sliceNanos);
          longestMillis = Math.max(longestMillis, performance.now() - start);
          if (kind !== 'slice') break;
          alive++;
        }
      }
      t.diagnostic(`seed ${seed}, ${rounds} memories, ${alive} of ${rounds * 3} slices ran to their end`);
      // That it got here is the test; that a good part of the code ran makes it one.
      assert.ok(alive >= rounds / 10);
      assert.ok(longestMillis < sliceLimitMillis, `a slice took ${longestMillis} ms`);
    });
  }
}
