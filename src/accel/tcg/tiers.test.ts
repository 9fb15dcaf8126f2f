/** What is translated does what is interpreted does: final states, faults, interrupts and the ends of slices. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { RunExit } from '../../contract/index.ts';
import { state } from '../../target/index.ts';
import type { Tier } from './index.ts';
import { Random } from './testing/differential/random.ts';
import { dataSize, randomProgram } from './testing/random-program.ts';
import { dword, hex, lookNanos, pageTable, type SmallGuest, smallGuest, tiers } from './testing/small-guest.ts';

const at = 0x1_0100;
const data = 0x2_0800;
const scratch = 0x2_8000;
const [RAX, RCX, RDX, RSP, RDI] = [0, 1, 2, 4, 7];
const IF = 0x200;
const PF = 14;
const vector = 0x30;
/** At most these taken branches are between two looks at the clock. */
const branchesPerLook = 5000;

/** Registers, flags, vectors, and data as one text. */
function outcome(guest: SmallGuest, rip: bigint): string {
  const { cpu } = guest;
  assert.equal(cpu.getBig(state.linear), rip);
  const registers = state.gpr.map((r) => cpu.getBig(r).toString(16));
  const vectors = Buffer.from(cpu.bytes.slice(state.xmm[0].offset, state.xmm[0].offset + 512)).toString('hex');
  return [
    ...registers,
    guest.view.getUint32(scratch, true),
    vectors,
    Buffer.from(guest.ram.slice(data, data + dataSize)).toString('hex'),
  ].join(' ');
}

describe('random programs', () => {
  const cases = Array.from({ length: 120 }, (_, i) => {
    const r = new Random(20, i);
    // pushf; pop [scratch]
    const code = [...randomProgram(r).slice(0, -1), ...hex('9C 8F 04 25'), ...dword(scratch), 0xf4];
    // Half of them go on in a second page.
    const start = i % 2 ? at : at + 0x1000 - r.below(code.length);
    const registers = Object.fromEntries(state.gpr.map((f) => [f.name, r.u32()]));
    const memory = Array.from({ length: dataSize }, () => r.below(256));
    return { code, start, registers: { ...registers, rsp: 0xa000, rbp: data, r15: 200 + r.below(1000) }, memory };
  });
  type Finish = (guest: SmallGuest, load: () => void) => RunExit;
  const run = async (tier: Tier, finish: Finish) => {
    const guest = await smallGuest(tier);
    return cases.map(({ code, start, registers, memory }) => {
      const load = () => guest.write(start, code);
      load();
      guest.write(data, memory);
      guest.cpu.bytes.fill(0, state.xmm[0].offset, state.xmm[0].offset + 512);
      guest.setEntry(start, registers);
      assert.equal(finish(guest, load).kind, 'halt');
      return outcome(guest, BigInt(start + code.length));
    });
  };
  let expected: string[];
  before(async () => {
    expected = await run('interpreter', (guest) => guest.run());
  });
  const check = (found: readonly string[]) => {
    found.forEach((text, i) => {
      assert.equal(text, expected[i], `program ${i}: ${Buffer.from(cases[i].code).toString('hex')}`);
    });
  };

  it('end as they do in the interpreter when all is translated', async () => {
    check(await run('translator', (guest) => guest.run()));
  });

  for (const tier of tiers) {
    it(`end so when slices end after a few branches and code is loaded anew, ${tier}`, async () => {
      const r = new Random(21, 0);
      let slices = 0;
      const found = await run(tier, (guest, load) => {
        for (;;) {
          // What the engine does itself (an instruction across two pages) counts as many branches.
          guest.cpu.set(state.budget, r.chance(95) ? 1 + r.below(6) : 1000);
          const exit = guest.vcpu.run(0);
          if (exit.kind !== 'slice') return exit;
          assert.ok(++slices < 1e6);
          if (r.chance(2)) load();
        }
      });
      assert.ok(slices > cases.length * 3, `${slices} slices`);
      check(found);
    });
  }
});

for (const tier of tiers) {
  describe(`interrupts and slices, ${tier}`, () => {
    let guest: SmallGuest;
    before(async () => {
      guest = await smallGuest(tier);
    });

    /** Starts `code` with interrupts on and, if it lasts so long, hot. */
    function start(code: readonly number[], slices: number): void {
      guest.write(at, code);
      guest.setEntry(at);
      guest.cpu.set(state.eflags, guest.cpu.get(state.eflags) | IF);
      for (let i = 0; i < slices; i++) assert.equal(guest.vcpu.run(20 * lookNanos).kind, 'slice');
    }

    it('an interrupt between two runs ends an endless loop', () => {
      start(hex('48 FF C0 EB FB'), 3);
      const counted = guest.gpr(RAX);
      assert.ok(counted > branchesPerLook, `${counted} rounds`);
      guest.pendingVector = vector;
      guest.vcpu.interruptRequest();
      assert.equal(guest.vcpu.run(20 * lookNanos).kind, 'halt');
      assert.equal(guest.halted, vector);
      assert.ok(guest.gpr(RAX) - counted <= 1);
      // The frame: RIP, CS, RFLAGS.
      assert.ok([at, at + 3].includes(guest.frame(0)));
      assert.equal(guest.frame(1), 0x10);
      assert.ok(guest.frame(2) & IF);
    });

    it('an interrupt that a device raises in a hot loop is taken at the next branch', () => {
      // loop: inc ecx; cmp ecx, 50000; jne on; out 80h, al; on: jmp loop
      start([...hex('FF C1 81 F9'), ...dword(50_000), ...hex('75 02 E6 80 EB F2')], 0);
      guest.onPortWrite = () => {
        guest.pendingVector = vector;
        guest.vcpu.interruptRequest();
      };
      assert.equal(guest.run(20 * lookNanos).kind, 'halt');
      assert.equal(guest.halted, vector);
      assert.ok(guest.gpr(RCX) - 50_000 <= 1, `${guest.gpr(RCX) - 50_000} rounds late`);
    });

    it('a slice ends at the next branch when a device stops it', () => {
      // loop: inc ecx; cmp ecx, 50000; jne on; out 80h, al; on: jmp loop
      start([...hex('FF C1 81 F9'), ...dword(50_000), ...hex('75 02 E6 80 EB F2')], 0);
      let stopped = false;
      guest.onPortWrite = () => {
        stopped = true;
        guest.vcpu.stop();
      };
      while (!stopped) assert.deepEqual(guest.vcpu.run(1000 * lookNanos), { kind: 'slice' });
      assert.ok(guest.gpr(RCX) - 50_000 <= 1, `${guest.gpr(RCX) - 50_000} rounds late`);
    });

    it('an interrupt waits for STI and comes behind the next instruction, in a hot loop too', () => {
      // loop: inc ecx; cmp ecx, 50000; jne loop; sti; inc edx; inc ebx; inc ebx; jmp loop
      guest.write(at, [...hex('FF C1 81 F9'), ...dword(50_000), ...hex('75 F6 FB FF C2 FF C3 FF C3 EB ED')]);
      guest.setEntry(at);
      guest.pendingVector = vector;
      guest.vcpu.interruptRequest();
      assert.equal(guest.run(20 * lookNanos).kind, 'halt');
      assert.deepEqual([guest.halted, guest.gpr(RCX), guest.gpr(RDX), guest.gpr(3)], [vector, 50_000, 1, 0]);
      assert.equal(guest.frame(0), at + 13);
    });

    it('an interrupt comes behind the instruction after STI where a hot loop starts', () => {
      // again: sti; loop: inc edx; test edx, 0ffffh; jnz loop; cli; out 80h, al; jmp again
      start(hex('FB FF C2 F7 C2 FF FF 00 00 75 F6 FA E6 80 EB F0'), 0);
      guest.onPortWrite = () => {
        guest.pendingVector = vector;
        guest.vcpu.interruptRequest();
      };
      assert.equal(guest.run(20 * lookNanos).kind, 'halt');
      assert.deepEqual([guest.halted, guest.gpr(RDX), guest.frame(0)], [vector, 0x1_0001, at + 3]);
    });

    it('a masked interrupt does not disturb a loop that ends', () => {
      guest.write(at, [0xb9, ...dword(100_000), ...hex('FF C0 FF C9 75 FA F4')]);
      guest.setEntry(at);
      guest.pendingVector = vector;
      guest.vcpu.interruptRequest();
      assert.equal(guest.run(20 * lookNanos).kind, 'halt');
      guest.pendingVector = -1;
      assert.deepEqual([guest.halted, guest.gpr(RAX)], [-1, 100_000]);
    });

    it('many short slices of nested loops and calls count right', () => {
      // mov ebx, 300; outer: mov ecx, 200; inner: call f; dec ecx; jnz inner; dec ebx; jnz outer; hlt; f: inc eax; ret
      const code = hex('BB 2C 01 00 00 B9 C8 00 00 00 E8 09 00 00 00 FF C9 75 F7 FF CB 75 EE F4 FF C0 C3');
      guest.write(at, code);
      guest.setEntry(at);
      let slices = 0;
      while (guest.vcpu.run(lookNanos * 1.5).kind === 'slice') slices++;
      assert.ok(slices > 10, `${slices} slices`);
      assert.equal(guest.gpr(RAX), 60_000);
    });
  });

  describe(`faults in hot code, ${tier}`, () => {
    const area = 0x8_0000;
    const pages = 64;
    const hole = area + pages * 0x1000;
    let guest: SmallGuest;

    async function holed(): Promise<SmallGuest> {
      const made = await smallGuest(tier);
      made.view.setBigUint64(pageTable + 8 * (hole >> 12), 0n, true);
      return made;
    }

    async function faulting(code: readonly number[], registers: Record<string, number>): Promise<void> {
      guest = await holed();
      guest.write(at, code);
      guest.setEntry(at, registers);
      assert.equal(guest.run().kind, 'halt');
      assert.equal(guest.halted, PF);
    }
    const fault = () => ({
      error: guest.frame(0),
      rip: guest.frame(1),
      cr2: Number(guest.cpu.getBig(state.cr2)),
    });

    it('a store runs into a hole', async () => {
      // loop: inc eax; mov [rdi], eax; add rdi, 4; jmp loop
      await faulting(hex('FF C0 89 07 48 83 C7 04 EB F6'), { rdi: area });
      assert.deepEqual(fault(), { error: 2, rip: at + 2, cr2: hole });
      assert.deepEqual([guest.gpr(RAX), guest.gpr(RDI)], [(pages * 0x1000) / 4 + 1, hole]);
    });

    it('a load across the edge of the hole', async () => {
      // loop: inc eax; add edx, [rdi]; add rdi, 4; jmp loop
      await faulting(hex('FF C0 03 17 48 83 C7 04 EB F6'), { rdi: area + 1 });
      assert.deepEqual(fault(), { error: 0, rip: at + 2, cr2: hole });
      assert.equal(guest.gpr(RDI), hole - 3);
    });

    it('a read and write leaves all as it was before', async () => {
      // loop: add [rdi], eax; lea rdi, [rdi + 8]; jmp loop; the flags of the round before stay
      await faulting(hex('01 07 48 8D 7F 08 EB F8'), { rdi: area, rax: 0xffff_ffff });
      assert.deepEqual(fault(), { error: 2, rip: at, cr2: hole });
      assert.equal(guest.gpr(RAX), 0xffff_ffff);
      // -1 + 0: no carry, no zero, negative.
      assert.equal(guest.frame(3) & 0x8d5, 0x84);
    });

    it('a push into the hole keeps RSP', async () => {
      // loop: inc eax; push rax; jmp loop. The fault's frame has no place either, nor has that of a double fault.
      guest = await holed();
      guest.write(at, hex('FF C0 50 EB FB'));
      guest.setEntry(at, { rsp: hole + 0x3000 });
      assert.deepEqual(guest.run(), { kind: 'shutdown', reason: 'triple fault' });
      assert.deepEqual([guest.gpr(RAX), guest.gpr(RSP)], [0x2000 / 8 + 1, hole + 0x1000]);
    });

    it('code of a second page, reached by a jump between regions', async () => {
      const second = at + 0x1000;
      // add rdi, 4; jmp second … mov eax, [rdi]; jmp at
      const code = [...hex('48 83 C7 04 E9'), ...dword(0x1000 - 9)];
      const there = [...hex('8B 07 E9'), ...dword(-0x1000 - 7)];
      guest = await holed();
      guest.write(second, there);
      guest.write(at, code);
      guest.setEntry(at, { rdi: area });
      assert.equal(guest.run().kind, 'halt');
      assert.deepEqual(fault(), { error: 0, rip: second, cr2: hole });
    });

    it('pages that the handler maps one by one', async () => {
      guest = await smallGuest(tier);
      for (let i = 0; i < pages; i++) guest.view.setBigUint64(pageTable + 8 * ((area >> 12) + i), 0n, true);
      // push rax; push rcx; mov rax, cr2; and rax, -4096; mov rcx, rax; shr rcx, 9; or rax, 3;
      // mov [rcx + page table], rax; inc dword [9ff8h]; pop rcx; pop rax; add rsp, 8; iretq
      const handler = hex('50 51 0F 20 D0 48 25 00 F0 FF FF 48 89 C1 48 C1 E9 09 48 83 C8 03 48 89 81 00 40 00 00');
      guest.handle(PF, [...handler, ...hex('FF 04 25'), ...dword(scratch), ...hex('59 58 48 83 C4 08 48 CF')]);
      // loop: inc dword [rdi]; inc eax; add rdi, 8; cmp rdi, rsi; jb loop; hlt
      guest.write(at, hex('FF 07 FF C0 48 83 C7 08 48 39 F7 72 F3 F4'));
      guest.setEntry(at, { rdi: area, rsi: hole });
      assert.equal(guest.run().kind, 'halt');
      assert.equal(guest.view.getUint32(scratch, true), pages);
      assert.equal(guest.gpr(RAX), (pages * 0x1000) / 8);
      for (let a = area; a < hole; a += 8) assert.equal(guest.view.getUint32(a, true), 1);
    });
  });
}

describe('statistics', () => {
  it('tell what was decoded, translated and left', async () => {
    const guest = await smallGuest('auto');
    // mov ecx, 200000; loop: dec ecx; jnz loop; hlt
    guest.write(at, hex('B9 40 0D 03 00 FF C9 75 FC F4'));
    guest.setEntry(at);
    const before = guest.vcpu.statistics?.() ?? {};
    assert.equal(guest.run().kind, 'halt');
    const after = guest.vcpu.statistics?.() ?? {};
    assert.deepEqual([after.translations - before.translations, after.retranslations], [2, 1]);
    assert.equal(after.regions, 1);
    assert.ok(after.translatedInstructions >= 2);
    assert.ok(after.decodedInstructions > before.decodedInstructions);
    assert.ok(after.exitsForSlice - before.exitsForSlice >= 200_000 / branchesPerLook);
    assert.ok(after.samplesInInterpreter > before.samplesInInterpreter);
  });

  it('a place that a region leads to again and again is translated', async () => {
    const guest = await smallGuest('auto');
    const behind = at + 0x1000;
    const jump = (from: number, to: number) => dword(to - from - 4);
    // mov ecx, 40000; loop: dec ecx; jmp behind … behind: jnz loop; hlt
    guest.write(at, [...hex('B9 40 9C 00 00 FF C9 E9'), ...jump(at + 8, behind)]);
    guest.write(behind, [...hex('0F 85'), ...jump(behind + 2, at + 5), 0xf4]);
    guest.setEntry(at);
    const before = guest.vcpu.statistics?.() ?? {};
    assert.equal(guest.run().kind, 'halt');
    const after = guest.vcpu.statistics?.() ?? {};
    assert.equal(after.exitsForTranslation - before.exitsForTranslation, 1);
    assert.equal(guest.gpr(1), 0);
  });
});
