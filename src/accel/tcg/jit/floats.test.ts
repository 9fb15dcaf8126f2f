/** Float arithmetic in regions, whose checks lean on what earlier instructions found: results and MXCSR as interpreted. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { state } from '../../../target/index.ts';
import type { Tier } from '../index.ts';
import { Random } from '../testing/differential/random.ts';
import { dword, hex, type SmallGuest, smallGuest } from '../testing/small-guest.ts';

const at = 0x1_0100;
const data = 0x2_0800;
const scratch = 0x2_8000;
const registers = 6;
/** Slots of 16 bytes in memory. */
const slots = 8;

const doubles = [0n, 1n << 63n, 0x3ff0000000000000n, 0xbff8000000000000n, 0x0010000000000000n, 0x000fffffffffffffn, 1n];
const moreDoubles = [0x7fefffffffffffffn, 0x7ff0000000000000n, 0x7ff8000000000000n, 0x7ff0000000000001n];
const odd = [...doubles, ...moreDoubles, 0x3fb999999999999an, 0x20000000_00000000n, 0x1ff00000_00000000n];
const singles = [0, 0x80000000, 0x3f800000, 0xbfc00000, 0x00800000, 0x007fffff, 1, 0x7f7fffff, 0x7f800000, 0x7fc00000];

const choose = <T>(r: Random, list: readonly T[]): T => list[r.below(list.length)];

/** One instruction of SSE on XMM registers and memory slots (at RBP); some compare and branch over the next one. */
function instruction(r: Random): number[] {
  const prefix = choose(r, [[], [0x66], [0xf3], [0xf2]]);
  const opcode = choose(r, [0x51, 0x58, 0x58, 0x59, 0x59, 0x5c, 0x5d, 0x5e, 0x5f]);
  const register = r.below(registers) << 3;
  const operand = r.chance(30) ? [0x45 | register, 16 * r.below(slots)] : [0xc0 | register | r.below(registers)];
  if (r.chance(12)) return [0x0f, 0x28, ...operand];
  if (r.chance(12)) return [...choose(r, [[0xf2], [0xf3]]), 0x0f, 0x10, ...operand];
  // inc r15 when the comparison says so
  if (r.chance(12)) return [0x66, 0x0f, choose(r, [0x2e, 0x2f]), ...operand, 0x70 | r.below(16), 3, ...hex('49 FF C7')];
  if (r.chance(5)) return [...prefix, 0x0f, 0xc2, ...operand, r.below(8)];
  return [...prefix, 0x0f, opcode, ...operand];
}

interface Case {
  readonly code: readonly number[];
  readonly memory: readonly bigint[];
  readonly mxcsr: number;
}

/** A loop of random instructions that begins with values of all kinds, and often meets ordinary ones. */
function randomCase(r: Random): Case {
  const body = Array.from({ length: 4 + r.below(12) }, () => instruction(r)).flat();
  const loads = Array.from({ length: registers }, (_, i) => [0x0f, 0x28, 0x45 | (i << 3), 16 * r.below(slots)]).flat();
  const reload = r.chance(50) ? [0x0f, 0x28, 0x45, 16 * r.below(slots)] : [];
  const loop = [...reload, ...body, ...hex('FF C9 0F 85')];
  const code = [...hex('B9 06 00 00 00'), ...loads, ...loop, ...dword(-loop.length - 4), 0xf4];
  const ordinary = r.chance(50);
  const word = () => {
    if (ordinary && r.chance(80)) return choose(r, [0x3ff0000000000000n, 0x4008000000000000n, 0x3fb999999999999an, 0n]);
    return r.chance(60) ? choose(r, odd) : (BigInt(choose(r, singles)) << 32n) | BigInt(choose(r, singles));
  };
  const memory = Array.from({ length: 2 * slots }, word);
  return { code, memory, mxcsr: choose(r, [0x1f80, 0x1fa0, 0x1fa0, 0x1fa0, 0x9fe0, 0x3fa0, 0x1fc0]) };
}

async function outcomes(tier: Tier, cases: readonly Case[]): Promise<string[]> {
  const guest = await smallGuest(tier);
  const { cpu } = guest;
  return cases.map(({ code, memory, mxcsr }) => {
    guest.write(at, code);
    for (const [i, word] of memory.entries()) guest.view.setBigUint64(data + 8 * i, word, true);
    guest.setEntry(at, { rbp: data, r15: 0 });
    cpu.set(state.mxcsr, mxcsr);
    guest.view.setUint32(scratch, 0, true);
    // Short slices, so that the loop is entered in many ways.
    for (let i = 0; guest.vcpu.run(0).kind === 'slice'; i++) {
      assert.ok(i < 10_000);
      cpu.set(state.budget, 1 + (i % 3));
    }
    assert.equal(cpu.getBig(state.linear), BigInt(at + code.length));
    const vectors = Buffer.from(cpu.bytes.slice(state.xmm[0].offset, state.xmm[0].offset + 32 * registers));
    return `${vectors.toString('hex')} ${cpu.get(state.mxcsr).toString(16)} ${guest.gpr(15)}`;
  });
}

const [one, small, least] = [0x3ff0000000000000n, 0x1ff123456789abcdn, 0x0010000000000000n];
const [DE, UE, PE] = [2, 0x10, 0x20];

/** Sequences where a later instruction must not take a value for what an earlier one might have made it. */
const sequences: readonly (readonly [string, string, readonly bigint[], number])[] = [
  // mulsd xmm0, xmm1; addsd xmm0, xmm2
  ['a product that is denormal, then added', 'F2 0F 59 C1 F2 0F 58 C2', [small, small, one], DE | UE | PE],
  // mulpd xmm0, xmm1; addpd xmm0, xmm2
  ['the same, packed', '66 0F 59 C1 66 0F 58 C2', [small, small, one], DE | UE | PE],
  // subsd xmm0, xmm1; addsd xmm0, xmm2
  ['a difference that is denormal, then added', 'F2 0F 5C C1 F2 0F 58 C2', [least + 1n, least, one], DE | PE],
  // mulpd xmm1, xmm1; addsd xmm0, xmm2; movapd xmm3, xmm1; addpd xmm3, xmm2
  ['a copy of a denormal', '66 0F 59 C9 F2 0F 58 C2 66 0F 28 D9 66 0F 58 DA', [one, small, one], DE | UE | PE],
];

/** Starts anew, with the TLB as it is. */
function again(guest: SmallGuest): void {
  guest.cpu.set(state.activity, state.activities.running);
  guest.cpu.setBig(state.linear, BigInt(at));
}

/** Rounding upwards from the middle of a region on. */
const roundUp = 0x5fa0;

describe('values of a region', () => {
  for (const [name, code, values, flags] of sequences) {
    for (const tier of ['interpreter', 'translator'] as const) {
      it(`${name}, ${tier}`, async () => {
        const guest = await smallGuest(tier);
        const loads = hex('0F 28 45 00 0F 28 4D 10 0F 28 55 20');
        const loop = [...loads, ...hex(code), ...hex('FF C9 0F 85')];
        guest.write(at, [...hex('B9 03 00 00 00'), ...loop, ...dword(-loop.length - 4), 0xf4]);
        const place = (list: readonly bigint[]) => {
          for (const [i, value] of list.entries())
            for (const half of [0, 8]) guest.view.setBigUint64(data + 16 * i + half, value, true);
        };
        // First with ordinary values, so that afterwards all of it runs in the region.
        place([one, one, one]);
        guest.setEntry(at, { rbp: data });
        guest.cpu.set(state.mxcsr, 0x1fa0);
        assert.equal(guest.run().kind, 'halt');
        assert.equal(guest.cpu.get(state.mxcsr) & 0x3f, PE);
        place(values);
        again(guest);
        assert.equal(guest.run().kind, 'halt');
        assert.equal(guest.cpu.get(state.mxcsr) & 0x3f, flags | PE);
      });
    }
  }

  for (const tier of ['interpreter', 'translator'] as const) {
    it(`LDMXCSR between two additions, ${tier}`, async () => {
      const guest = await smallGuest(tier);
      // addsd xmm0, xmm1; ldmxcsr [rbp + 20h]; addsd xmm2, xmm1
      guest.write(at, hex('0F 28 45 00 0F 28 4D 10 66 0F 28 D0 F2 0F 58 C1 0F AE 55 20 F2 0F 58 D1 F4'));
      guest.view.setBigUint64(data, one, true);
      guest.view.setBigUint64(data + 16, small, true);
      guest.view.setUint32(data + 32, roundUp, true);
      guest.setEntry(at, { rbp: data });
      for (let i = 0; i < 2; i++) {
        guest.cpu.set(state.mxcsr, 0x1fa0);
        assert.equal(guest.run().kind, 'halt');
        again(guest);
      }
      assert.deepEqual([guest.cpu.getBig(state.xmm[0]), guest.cpu.getBig(state.xmm[2])], [one, one + 1n]);
    });
  }
});

describe('float programs', () => {
  for (const [seed, tier] of [
    [30, 'translator'],
    [31, 'auto'],
  ] as const) {
    it(`end as interpreted, ${tier}`, async () => {
      const r = new Random(seed, 0);
      const cases = Array.from({ length: Number(process.env.VIREO_FLOAT_PROGRAMS ?? 250) }, () => randomCase(r));
      const expected = await outcomes('interpreter', cases);
      const found = await outcomes(tier, cases);
      for (const [i, text] of found.entries())
        assert.equal(text, expected[i], `program ${i}: ${Buffer.from(cases[i].code).toString('hex')}`);
    });
  }
});
