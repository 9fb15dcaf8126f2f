/** Calls, returns and indirect branches that a region takes in, and what may happen to them meanwhile. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dword, hex, pageTable, type SmallGuest, smallGuest, tiers } from '../testing/small-guest.ts';

const at = 0x1_0100;
/** In another page. */
const other = 0x2_0000;
const [RAX, RBX] = [0, 3];
/** Enough for `auto` to translate a loop, and once more with what was seen. */
const rounds = 90_000;

/** A loop of `n` rounds in ECX, at `at`; HLT behind it. */
function repeated(n: number, body: readonly number[]): number[] {
  return [0xb9, ...dword(n), ...body, ...hex('FF C9 0F 85'), ...dword(-body.length - 8), 0xf4];
}
const bodyAt = at + 5;
const call = (from: number, to: number): number[] => [0xe8, ...dword(to - from - 5)];

for (const tier of tiers) {
  describe(`calls in hot code, ${tier}`, () => {
    const run = async (code: readonly number[], prepare: (guest: SmallGuest) => void): Promise<SmallGuest> => {
      const guest = await smallGuest(tier);
      guest.write(at, code);
      prepare(guest);
      guest.setEntry(at);
      assert.equal(guest.run(200_000, 20_000).kind, 'halt');
      return guest;
    };

    it('a function of another page, called from two places of the loop', async () => {
      const body = [...call(bodyAt, other), ...hex('83 C3 02'), ...call(bodyAt + 8, other)];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, hex('83 C0 01 C3')));
      assert.deepEqual([guest.gpr(RAX), guest.gpr(RBX)], [2 * rounds, 2 * rounds]);
    });

    it('a recursive function', async () => {
      // f: cmp edi, 0; je done; dec edi; call f; inc edi; inc eax; done: ret
      const f = [...hex('83 FF 00 74 0B FF CF'), ...call(other + 7, other), ...hex('FF C7 FF C0 C3')];
      assert.equal(f.length, 17);
      const body = [...hex('BF 09 00 00 00'), ...call(bodyAt + 5, other)];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, [...f.slice(0, 4), 0x0b, ...f.slice(5)]));
      assert.equal(guest.gpr(RAX), 9 * rounds);
    });

    it('a function that changes where it returns to, in the last rounds', async () => {
      // cmp ecx, 100; ja +5; add qword [rsp], 3; ret: then the addition behind the call is not done.
      const f = hex('83 F9 64 77 05 48 83 04 24 03 C3');
      const body = [...call(bodyAt, other), ...hex('83 C0 01')];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, f));
      assert.equal(guest.gpr(RAX), rounds - 100);
    });

    it('a function that goes to another stack and back', async () => {
      // xchg rsp, rsi; push 5; pop rdx; xchg rsp, rsi; add eax, edx; ret
      const f = hex('48 87 F4 6A 05 5A 48 87 F4 01 D0 C3');
      const body = [...hex('BE 00 90 00 00'), ...call(bodyAt + 5, other)];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, f));
      assert.equal(guest.gpr(RAX), 5 * rounds);
    });

    it('a return by another stack than the call', async () => {
      // push the call’s return address on the other stack: mov rsi, [rsp]; mov [9000h], rsi; mov rdi, rsp; mov rsp, 9000h; ret
      const f = hex('48 8B 34 24 48 89 34 25 00 90 00 00 48 8D 7C 24 08 BC 00 90 00 00 C3');
      // behind the call: mov rsp, rdi; inc eax
      const body = [...call(bodyAt, other), ...hex('48 89 FC FF C0')];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, f));
      assert.equal(guest.gpr(RAX), rounds);
    });

    it('calls through a register, to more targets than are remembered', async () => {
      // mov edx, ecx; and edx, 31; lea edx, [rdx * 8 + other]; call rdx
      const body = [...hex('89 CA 83 E2 1F 8D 14 D5'), ...dword(other), ...hex('FF D2')];
      const functions = Array.from({ length: 32 }, (_, i) => [...hex('83 C0'), i, 0xc3, 0xf4, 0xf4, 0xf4, 0xf4]).flat();
      const guest = await run(repeated(64_000, body), (g) => g.write(other, functions));
      assert.equal(guest.gpr(RAX), 2000 * 31 * 16);
    });

    it('a jump table whose entries change', async () => {
      const table = 0x3_0000;
      // mov edx, ecx; and edx, 3; jmp [table + rdx * 8]; the four targets add 1, 2, 3 and 4
      const jump = [...hex('89 CA 83 E2 03 FF 24 D5'), ...dword(table)];
      const targets = bodyAt + jump.length;
      const arms = [1, 2, 3, 4].flatMap((n, i) => [...hex('83 C0'), n, 0xeb, 5 * (3 - i)]);
      const write = (g: SmallGuest, shift: number) =>
        g.write(
          table,
          [0, 1, 2, 3].flatMap((i) => [...dword(targets + 5 * ((i + shift) % 4)), 0, 0, 0, 0]),
        );
      // In round 1000 from the end the table’s first entry becomes the second one.
      const change = [
        ...hex('81 F9'),
        ...dword(1000),
        ...hex('75 0B C7 04 25'),
        ...dword(table),
        ...dword(targets + 5),
      ];
      const body = [...jump, ...arms, ...change];
      const guest = await run(repeated(rounds, body), (g) => write(g, 0));
      // 1000 is a multiple of 4: change comes behind its jump, so 249 rounds take the other arm.
      assert.equal(guest.gpr(RAX), (rounds / 4) * 10 + 249);
    });

    it('code of the called function changes', async () => {
      const patch = [...hex('81 F9'), ...dword(500), ...hex('75 08 C6 04 25'), ...dword(other + 2), 7];
      const body = [...patch, ...call(bodyAt + patch.length, other)];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, hex('83 C0 01 C3')));
      assert.equal(guest.gpr(RAX), rounds - 500 + 7 * 500);
    });

    it('the page of the called function is mapped anew', async () => {
      const entry = pageTable + 8 * (other >> 12);
      const remap = [...hex('C7 04 25'), ...dword(entry), ...dword(0x3_0003), ...hex('0F 01 3C 25'), ...dword(other)];
      const body = [...hex('81 F9'), ...dword(500), 0x75, remap.length, ...remap];
      const guest = await run(repeated(rounds, [...body, ...call(bodyAt + body.length, other)]), (g) => {
        g.write(other, hex('83 C0 01 C3'));
        g.write(0x3_0000, hex('83 C0 02 C3'));
      });
      assert.equal(guest.gpr(RAX), rounds + 500);
    });

    it('code that goes on in the next page, which is mapped anew', async () => {
      const entry = pageTable + 8 * ((other + 0x1000) >> 12);
      const remap = [...hex('C7 04 25'), ...dword(entry), ...dword(0x3_0003), ...hex('0F 01 3C 25')];
      const change = [...remap, ...dword(other + 0x1000)];
      const body = [...hex('81 F9'), ...dword(500), 0x75, change.length, ...change];
      const guest = await run(repeated(rounds, [...body, ...call(bodyAt + body.length, other + 0xffd)]), (g) => {
        g.write(other + 0xffd, hex('83 C3 01 83 C0 01 C3'));
        g.write(0x3_0000, hex('83 C0 02 C3'));
      });
      assert.deepEqual([guest.gpr(RAX), guest.gpr(RBX)], [rounds + 500, rounds]);
    });

    it('a fault in the called function is told with its address', async () => {
      // mov edx, [rdi]; ret; RDI is beyond what is mapped in the last round.
      const body = [...hex('BF 00 80 00 00 83 F9 01 75 05 BF 00 00 40 00'), ...call(bodyAt + 15, other)];
      const guest = await run(repeated(rounds, body), (g) => g.write(other, hex('FF C0 8B 17 C3')));
      assert.equal(guest.halted, 14);
      assert.equal(guest.frame(1), other + 2);
      assert.equal(guest.gpr(RAX), rounds);
    });

    it('loops of one region that are entered in the middle', async () => {
      // Two loops that call the same function, one after the other.
      const inner = (from: number) => [...hex('BE 05 00 00 00'), ...call(from + 5, other), ...hex('FF CE 75 F7')];
      const body = [...inner(bodyAt), ...hex('83 C3 01'), ...inner(bodyAt + 17)];
      const guest = await run(repeated(20_000, body), (g) => g.write(other, hex('83 C0 01 C3')));
      assert.deepEqual([guest.gpr(RAX), guest.gpr(RBX)], [200_000, 20_000]);
    });
  });
}
