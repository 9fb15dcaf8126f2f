/** The tiers agree instruction by instruction, and the tool that says so finds the instruction about which they do not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { state } from '../../../../target/index.ts';
import { createTcg } from '../../index.ts';
import { programStart as at, startRandomProgram } from '../random-program.ts';
import { hex, ramSize, SmallGuest, smallGuest } from '../small-guest.ts';
import { lockstep, usedBytes } from './lockstep.ts';
import { Random } from './random.ts';

const [RAX, RBX] = [0, 3];

describe('lockstep', () => {
  it('finds no difference in random programs', async () => {
    const pair = { translated: await smallGuest('translator'), stepped: await smallGuest('interpreter') };
    for (let i = 0; i < 10; i++) {
      for (const guest of [pair.translated, pair.stepped]) startRandomProgram(guest, new Random(40, i));
      const r = new Random(41, i);
      assert.equal(
        lockstep(pair, () => 1 + r.below(100)),
        undefined,
        `program ${i}`,
      );
      assert.equal(pair.translated.gpr(15), 0);
    }
  });

  describe('names the instruction about which they differ', async () => {
    // Without BMI1, TZCNT is BSF: another handler for the same bytes, with another result for 0.
    const wrong = await createTcg({
      cpuModel: 'max,-bmi1',
      ramRanges: [{ base: 0, size: ramSize }],
      tier: 'translator',
    });
    const pair = { translated: new SmallGuest(wrong), stepped: await smallGuest('interpreter') };
    const start = (code: string, registers: Record<string, number>, address = at) => {
      for (const guest of [pair.translated, pair.stepped]) {
        guest.write(0xc000, new Array(usedBytes - 0xc000).fill(0));
        guest.write(address, hex(code));
        guest.setEntry(address, { rax: 0, rcx: 0, rdx: 0, rbx: 0, ...registers });
      }
    };

    for (const branches of [1, 7, 1000]) {
      it(`in a loop that comes to it late, slices of ${branches}`, () => {
        // 00: inc eax; cmp eax, 777; jne 0d; tzcnt edx, ecx; 0d: mov ebx, eax; dec esi; jnz 00; hlt
        start('FF C0 3D 09 03 00 00 75 04 F3 0F BC D1 89 C3 FF CE 75 ED F4', { rsi: 1500, rdx: 5 });
        const found = lockstep(pair, () => branches);
        assert.ok(found);
        assert.deepEqual(found.instructions, ['10109: f30fbcd1 TZCNT Gv,Ev']);
        assert.ok(found.differences.includes('rdx: translated 5, interpreted 20'), found.differences.join('\n'));
        assert.ok(found.differences.some((text) => text.startsWith('rflags:')));
      });
    }

    it('in a page that an instruction goes across the end of', () => {
      // movabs rax, …; tzcnt edx, ecx; hlt
      start('48 B8 01 02 03 04 05 06 07 08 F3 0F BC D1 F4', { rdx: 5 }, at + 0xef8);
      assert.deepEqual(lockstep(pair, () => 1)?.instructions, ['11002: f30fbcd1 TZCNT Gv,Ev']);
    });

    it('and as little as they part in when no single one does it', (t) => {
      // 00: inc eax; mov ebx, eax; dec esi; jnz 00; hlt
      start('FF C0 89 C3 FF CE 75 F8 F4', { rsi: 100 });
      const { vcpu, cpu } = pair.translated;
      const run = vcpu.run.bind(vcpu);
      t.mock.method(vcpu, 'run', (nanos: number) => {
        const exit = run(nanos);
        // At the ends of slices only, not at breakpoints.
        if (exit.kind === 'slice' && pair.translated.gpr(RAX) >= 50) cpu.setBig(state.gpr[RBX], 0x123n);
        return exit;
      });
      const found = lockstep(pair, () => 20);
      assert.ok(found);
      const loop = ['10100: ffc0 INC Ev', '10102: 89c3 MOV Ev,Gv', '10104: ffce DEC Ev', '10106: 75f8 JNZ Jb'];
      assert.deepEqual(found.instructions, loop);
      assert.deepEqual(found.differences, ['rbx: translated 123, interpreted 32']);
    });
  });
});
