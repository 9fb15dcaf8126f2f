/** String instructions with REP, many elements at once, in every tier: where they stop, and what they leave in the registers. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { state } from '../../target/index.ts';
import type { Tier } from './index.ts';
import { Random } from './testing/differential/random.ts';
import { dword, hex, pageTable, type SmallGuest, smallGuest, tiers } from './testing/small-guest.ts';

const at = 0x1_0100;
const source = 0x2_0000;
const target = 0x3_0000;
const [RAX, RCX, RDX, RSI, RDI] = [0, 1, 2, 6, 7];
const { PF } = state.vector;

const setRegister = (register: number, value: number): number[] => [0xb8 + register, ...dword(value)];
/** mov edi, …; mov esi, …; mov ecx, count */
const operands = (to: number, from: number, count: number): number[] => [
  ...setRegister(RDI, to),
  ...setRegister(RSI, from),
  ...setRegister(RCX, count),
];

async function run(tier: Tier, code: readonly number[], prepare: (guest: SmallGuest) => void = () => {}) {
  const guest = await smallGuest(tier);
  guest.write(at, code);
  prepare(guest);
  guest.setEntry(at);
  assert.deepEqual(guest.run(), { kind: 'halt' });
  return guest;
}

const numbers = Array.from({ length: 0x3000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
const pointers = (guest: SmallGuest): number[] => [RCX, RSI, RDI].map((r) => guest.gpr(r));

for (const tier of tiers) {
  describe(`strings, ${tier}`, () => {
    for (const [name, opcode, width] of [
      ['MOVSB', 'F3 A4', 1],
      ['MOVSQ', 'F3 48 A5', 8],
    ] as const) {
      it(`${name} over pages, its ends within them`, async () => {
        const count = 0x2400 / width;
        const code = [...operands(target + 0x10, source + 0x30, count), ...hex(opcode), 0xf4];
        const guest = await run(tier, code, (g) => g.write(source, numbers));
        assert.deepEqual([...guest.ram.slice(target + 0x10, target + 0x2410)], numbers.slice(0x30, 0x2430));
        assert.equal(guest.ram[target + 0x2410], 0);
        assert.deepEqual(pointers(guest), [0, source + 0x2430, target + 0x2410]);
      });
    }

    it('MOVSB onto itself, one byte on, spreads a byte', async () => {
      const guest = await run(tier, [...operands(target + 1, target, 500), ...hex('F3 A4 F4')], (g) =>
        g.write(target, [0x5a]),
      );
      assert.ok(guest.ram.slice(target, target + 501).every((x) => x === 0x5a));
      assert.equal(guest.ram[target + 501], 0);
    });

    it('MOVSD downwards', async () => {
      const code = [0xfd, ...operands(target + 0x1ffc, source + 0x1ffc, 0x800), ...hex('F3 A5 F4')];
      const guest = await run(tier, code, (g) => g.write(source, numbers));
      assert.deepEqual([...guest.ram.slice(target, target + 0x2000)], numbers.slice(0, 0x2000));
      assert.deepEqual(pointers(guest), [0, source - 4, target - 4]);
    });

    for (const [name, opcode, width] of [
      ['STOSB', 'F3 AA', 1],
      ['STOSW', 'F3 66 AB', 2],
      ['STOSD', 'F3 AB', 4],
      ['STOSQ', 'F3 48 AB', 8],
    ] as const) {
      it(`${name}, of equal and of different bytes`, async () => {
        for (const value of [0x04030201, 0]) {
          const count = 0x1800 / width;
          const code = [...setRegister(RAX, value), ...operands(target + 8, 0, count), ...hex(opcode), 0xf4];
          const guest = await run(tier, code, (g) => g.write(target, numbers));
          const bytes = Array.from({ length: 0x1800 }, (_, i) =>
            i % width < 4 ? (value >> (8 * (i % width))) & 0xff : 0,
          );
          assert.deepEqual([...guest.ram.slice(target + 8, target + 0x1808)], bytes);
          assert.equal(guest.ram[target + 0x1808], numbers[0x1808]);
          assert.deepEqual(pointers(guest), [0, 0, target + 0x1808]);
        }
      });
    }

    for (const [name, opcode, readFault] of [
      ['source', 'F3 A4', true],
      ['destination', 'F3 A4', false],
      ['STOSB’s destination', 'F3 AA', false],
    ] as const) {
      it(`a fault at a page of the ${name}: registers are those of the byte, and it goes on there`, async () => {
        const hole = (readFault ? source : target) + 0x1000;
        const entry = pageTable + 8 * (hole >> 12);
        const code = [
          ...setRegister(RAX, 0x77),
          ...operands(target + 0x20, source + 0x20, 0x1800),
          ...hex(opcode),
          0xf4,
        ];
        const guest = await run(tier, code, (g) => {
          g.write(source, numbers);
          g.view.setBigUint64(entry, BigInt(hole | 2), true);
          // mov r8, rcx; mov r9, rsi; mov r10, rdi; pop r11; or byte [entry], 1; iretq
          g.handle(PF, [...hex('49 89 C8 49 89 F1 49 89 FA 41 5B 80 0C 25'), ...dword(entry), 1, ...hex('48 CF')]);
        });
        assert.equal(guest.halted, -1);
        const done = 0x1000 - 0x20;
        assert.deepEqual(
          [8, 10, 11].map((r) => guest.gpr(r)),
          [0x1800 - done, target + 0x1000, readFault ? 0 : 2],
        );
        if (opcode === 'F3 A4') assert.equal(guest.gpr(9), source + 0x1000);
        const expected = opcode === 'F3 A4' ? numbers.slice(0x20, 0x1820) : new Array(0x1800).fill(0x77);
        assert.deepEqual([...guest.ram.slice(target + 0x20, target + 0x1820)], expected);
      });
    }

    it('searches and comparisons stop where they should', async () => {
      const r = new Random(7, 0);
      for (let round = 0; round < 40; round++) {
        const width = [1, 2, 4, 8][round % 4];
        const compares = r.chance(50);
        const untilEqual = r.chance(50);
        const count = 1 + r.below(0x1400 / width);
        const stop = r.below(count + (count >> 2) + 1);
        const from = source + width * r.below(40);
        const to = target + 0xf00 + r.below(0x110);
        // Elements that do not end the search, up to the one at `stop`.
        const passing = untilEqual ? 0x22 : 0x11;
        const ending = untilEqual ? 0x11 : 0x22;
        const prefix = untilEqual ? 'F2' : 'F3';
        const opcode = { 1: compares ? 'A6' : 'AE', 2: compares ? '66 A7' : '66 AF', 4: compares ? 'A7' : 'AF' }[width];
        const instruction = opcode ?? (compares ? '48 A7' : '48 AF');
        const rax = [...hex('48 B8'), ...new Array(8).fill(0x11)];
        // setz dl
        const code = [...rax, ...operands(to, from, count), ...hex(`${prefix} ${instruction} 0F 94 C2 F4`)];
        const guest = await run(tier, code, (g) => {
          g.write(from, new Array(count * width).fill(0x11));
          g.write(to, new Array(count * width).fill(passing));
          if (stop < count) g.write(to + stop * width, new Array(width).fill(ending));
        });
        const done = Math.min(stop + 1, count);
        const text = `round ${round}: width ${width}, ${count} elements, stop at ${stop}`;
        const read = compares ? from + done * width : from;
        assert.deepEqual(pointers(guest), [count - done, read, to + done * width], text);
        assert.equal(guest.gpr(RDX) & 1, Number(stop < count === untilEqual), text);
      }
    });

    it('a hot loop of them, with a count of 0 and slices that end within', async () => {
      // mov r8d, 3000; loop: edi, esi, ecx = …; rep movsb; xor ecx, ecx; rep stosb; repne scasb; dec r8d; jnz loop; hlt
      const body = [...operands(target, source, 300), ...hex('F3 A4 31 C9 F3 AA F2 AE 49 FF C8')];
      const code = [...hex('41 B8'), ...dword(3000), ...body, ...hex('0F 85'), ...dword(-body.length - 6), 0xf4];
      const guest = await run(tier, code, (g) => g.write(source, numbers));
      assert.deepEqual([...guest.ram.slice(target, target + 300)], numbers.slice(0, 300));
      assert.deepEqual(pointers(guest), [0, source + 300, target + 300]);
    });

    it('a hot loop writes over the instruction behind its STOSB', async () => {
      // mov r8d, n; loop: mov al, r8b; mov edi, immediate; mov ecx, 1; rep stosb; add edx, imm8; dec r8d; jnz loop; hlt
      const rounds = 400;
      const start = hex('44 88 C0');
      const length = start.length + 10 + 2;
      const immediate = at + 6 + length + 2;
      const body = [
        ...start,
        ...setRegister(RDI, immediate),
        ...setRegister(RCX, 1),
        ...hex('F3 AA 83 C2 00 49 FF C8'),
      ];
      const code = [...hex('41 B8'), ...dword(rounds), ...body, ...hex('0F 85'), ...dword(-body.length - 6), 0xf4];
      const guest = await run(tier, code);
      let sum = 0;
      for (let i = rounds; i > 0; i--) sum += (i << 24) >> 24;
      assert.equal(guest.gpr(RDX), sum >>> 0);
    });
  });
}
