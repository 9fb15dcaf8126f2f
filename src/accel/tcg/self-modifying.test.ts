/** Code that changes while it runs, in every tier: what executes is what is in memory (SDM vol. 3, 11.6). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { state } from '../../target/index.ts';
import type { Tier } from './index.ts';
import { dword, hex, pageTable, type SmallGuest, smallGuest, tiers } from './testing/small-guest.ts';

const at = 0x1_0100;
const other = 0x2_0000;
const RAX = 0;
const RCX = 1;
/** Enough rounds of a loop for `auto` to translate it. */
const rounds = 40_000;

async function run(
  tier: Tier,
  code: readonly number[],
  prepare: (guest: SmallGuest) => void = () => {},
  start = at,
): Promise<SmallGuest> {
  const guest = await smallGuest(tier);
  guest.write(start, code);
  prepare(guest);
  guest.setEntry(start);
  assert.deepEqual(guest.run(), { kind: 'halt' });
  return guest;
}

/** mov ecx, n; loop: `body`; dec ecx; jnz loop; hlt */
function repeated(n: number, body: readonly number[]): number[] {
  return [0xb9, ...dword(n), ...body, ...hex('FF C9'), ...hex('0F 85'), ...dword(-body.length - 8), 0xf4];
}

/** As `repeated`; when ECX is `when`, `once` runs before the body. */
function patchedAt(n: number, when: number, once: readonly number[], body: readonly number[]): number[] {
  return repeated(n, [...hex('81 F9'), ...dword(when), 0x75, once.length, ...once, ...body]);
}

/** mov byte [address], value */
const store = (address: number, value: number): number[] => [...hex('C6 04 25'), ...dword(address), value];
/** call address, from `from` */
const call = (from: number, address: number): number[] => [0xe8, ...dword(address - from - 5)];

for (const tier of tiers) {
  describe(`self-modifying code, ${tier}`, () => {
    it('an instruction ahead in the same block', async () => {
      const code = [...store(at + 9, 2), ...hex('B8 01 00 00 00 F4')];
      assert.equal((await run(tier, code)).gpr(RAX), 2);
    });

    it('the instruction behind a store that enters a block, again and again', async () => {
      // add byte [imm], 1; add eax, imm: the store is where the loop comes back to.
      const body = [...hex('80 04 25'), ...dword(at + 5 + 8 + 2), 1, ...hex('83 C0 00')];
      const guest = await run(tier, repeated(100, body));
      assert.equal(guest.gpr(RAX), (100 * 101) / 2);
    });

    it('every round changes the next instruction of its own loop', async () => {
      const n = tier === 'auto' ? 12_000 : 200;
      const code = repeated(n, [...hex('80 34 25'), ...dword(at + 5 + 8 + 2), 5, ...hex('83 C0 04')]);
      // 4 xor 5 is 1: odd rounds add 1, even rounds 4.
      assert.equal((await run(tier, code)).gpr(RAX), (n / 2) * 5);
    });

    it('a hot loop changes its own body once', async () => {
      const body = hex('83 C0 01');
      const immediate = at + 5 + 8 + 8 + 2;
      const code = patchedAt(rounds, rounds / 2, store(immediate, 3), body);
      assert.equal((await run(tier, code)).gpr(RAX), rounds / 2 + (rounds / 2) * 3);
    });

    it('a hot loop changes code in another page that it calls', async () => {
      const once = store(other + 2, 3);
      const before = 5 + 8 + once.length;
      const code = patchedAt(rounds, rounds / 2, once, call(at + before, other));
      const guest = await run(tier, code, (g) => g.write(other, hex('83 C0 01 C3')));
      assert.equal(guest.gpr(RAX), rounds / 2 + (rounds / 2) * 3);
    });

    for (const [name, offset] of [
      ['second', 2],
      ['first', 1],
    ] as const) {
      it(`an instruction across two pages is changed in its ${name} page`, async () => {
        // add eax, 1 with its ModRM or its immediate in the second page; C8 makes it or eax, 1.
        const target = other + 0x1000 - 2;
        const once = store(target + offset, name === 'second' ? 3 : 0xc8);
        const code = patchedAt(rounds, rounds / 2, once, call(at + 13 + once.length, target));
        const guest = await run(tier, code, (g) => g.write(target, hex('83 C0 01 C3')));
        const sum = rounds / 2;
        assert.equal(guest.gpr(RAX), name === 'second' ? sum + (rounds / 2) * 3 : sum | 1);
      });
    }

    it('a store across two pages changes code in both', async () => {
      const end = other + 0x1000;
      // The first page ends in add eax, 1; the second starts with add eax, 2. A 4-byte store sets both immediates' bytes.
      const once = [...hex('C7 04 25'), ...dword(end - 1), ...hex('10 83 C0 20')];
      const code = patchedAt(rounds, rounds / 2, once, call(at + 13 + once.length, end - 3));
      const guest = await run(tier, code, (g) => g.write(end - 3, hex('83 C0 01 83 C0 02 C3')));
      assert.equal(guest.gpr(RAX), (rounds / 2) * 3 + (rounds / 2) * 0x30);
    });

    it('a device changes a hot loop', async () => {
      const guest = await smallGuest(tier);
      guest.write(at, hex('FF C0 EB FC'));
      guest.setEntry(at);
      for (let i = 0; i < 3; i++) assert.deepEqual(guest.vcpu.run(20_000), { kind: 'slice' });
      guest.write(at + 2, [0xf4]);
      assert.deepEqual(guest.run(), { kind: 'halt' });
      assert.equal(guest.cpu.getBig(state.linear), BigInt(at + 3));
    });

    it('data writes beside hot code in its page', async () => {
      const code = repeated(rounds, [...hex('FF 04 25'), ...dword(at + 0x800)]);
      const guest = await run(tier, code);
      assert.equal(guest.view.getUint32(at + 0x800, true), rounds);
    });

    it('code that was data: written and run, again and again', async () => {
      // mov byte [other + 1], cl; call other (mov al, imm; ret); movzx eax, al; add edx, eax
      const body = [...hex('88 0C 25'), ...dword(other + 1)];
      body.push(...call(at + 5 + body.length, other), ...hex('0F B6 C0 01 C2'));
      const guest = await run(tier, repeated(300, body), (g) => g.write(other, hex('B0 00 C3')));
      let sum = 0;
      for (let i = 300; i > 0; i--) sum += i & 0xff;
      assert.equal(guest.gpr(2), sum);
    });

    it('an undefined instruction becomes a defined one by its second byte', async () => {
      // 0F 04 is undefined; its handler makes it 0F 31 (RDTSC) and tries again.
      const guest = await run(tier, hex('0F 04 B8 07 00 00 00 F4'), (g) =>
        g.handle(6, [...store(at + 1, 0x31), ...hex('48 CF')]),
      );
      assert.equal(guest.halted, -1);
      assert.equal(guest.gpr(RAX), 7);
    });

    it('CR3 is switched under a hot call', async () => {
      const tables = 0x4_0000;
      // call other; mov rbx, cr3; xor rbx, rsi; mov cr3, rbx
      const body = [...call(at + 5, other), ...hex('0F 20 DB 48 31 F3 0F 22 DB')];
      const guest = await run(
        tier,
        [0xbe, ...dword(0x1000 ^ tables), ...repeated(2000, [...call(at + 10, other), ...body.slice(5)])],
        (g) => {
          g.copyTables(tables);
          g.view.setBigUint64(tables + 0x3000 + 8 * (other >> 12), BigInt(other + 0x1003), true);
          g.write(other, hex('83 C0 01 C3'));
          g.write(other + 0x1000, hex('83 C0 05 C3'));
        },
      );
      assert.equal(guest.gpr(RAX), 1000 * 6);
    });

    it('INVLPG of another page', async () => {
      const entry = pageTable + 8 * (other >> 12);
      // xor dword [entry], 1000h | 2000h; invlpg [other]; call other
      const body = [...hex('81 34 25'), ...dword(entry), ...dword(0x1000), ...hex('0F 01 3C 25'), ...dword(other)];
      body.push(...call(at + 5 + body.length, other));
      const guest = await run(tier, repeated(2000, body), (g) => {
        g.write(other, hex('83 C0 01 C3'));
        g.write(other + 0x1000, hex('83 C0 05 C3'));
      });
      assert.equal(guest.gpr(RAX), 1000 * 6);
    });

    it('the second page of an instruction across two pages is mapped anew', async () => {
      const second = other + 0x1000;
      const entry = pageTable + 8 * (second >> 12);
      // xor dword [entry], 1000h ^ 2000h; invlpg [second]; call second - 2
      const body = [...hex('81 34 25'), ...dword(entry), ...dword(0x3000), ...hex('0F 01 3C 25'), ...dword(second)];
      body.push(...call(at + 5 + body.length, second - 2));
      const guest = await run(tier, repeated(2000, body), (g) => {
        g.write(second - 2, hex('83 C0 01 C3'));
        g.write(second + 0x1000, hex('05 C3'));
      });
      assert.equal(guest.gpr(RAX), 1000 * 6);
    });

    it('INVLPG of the page that it is in: the next instruction is the new page’s', async () => {
      const page = at & ~0xfff;
      const entry = pageTable + 8 * (page >> 12);
      const code = [...hex('C7 04 25'), ...dword(entry), ...dword(other | 3), ...hex('0F 01 3C 25'), ...dword(page)];
      const guest = await run(tier, [...code, ...hex('B8 01 00 00 00 F4')], (g) =>
        g.write(other + 0x100 + code.length, hex('B8 02 00 00 00 F4')),
      );
      assert.equal(guest.gpr(RAX), 2);
    });

    it('a page is run, freed, filled through another mapping, and run again', async () => {
      const alias = 0x3_0000;
      // mov byte [alias + 1], cl; call other
      const body = [...hex('88 0C 25'), ...dword(alias + 1)];
      body.push(...call(at + 5 + body.length, other), ...hex('0F B6 C0 01 C2'));
      const guest = await run(tier, repeated(200, body), (g) => {
        g.write(other, hex('B0 00 C3'));
        g.view.setBigUint64(pageTable + 8 * (alias >> 12), BigInt(other | 3), true);
      });
      assert.equal(guest.gpr(2), (200 * 201) / 2);
      assert.equal(guest.gpr(RCX), 0);
    });
  });
}
