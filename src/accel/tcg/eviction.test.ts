/** Regions beyond the most that there may be take the place of those that were not seen at work for longest. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createTcg, type TcgStatistics } from './index.ts';
import { dword, hex, ramSize, SmallGuest } from './testing/small-guest.ts';

const maxRegions = 8;
const loops = 40;
const rounds = 30_000;
const RAX = 0;
const firstPage = 0x1_0000;

/** xor eax, eax; mov ecx, rounds; again: add eax, STEP; dec ecx; jnz again; hlt */
const loop = (step: number): number[] => [
  ...hex('31 C0 B9'),
  ...dword(rounds),
  ...hex('83 C0'),
  step,
  ...hex('FF C9 75 F9 F4'),
];

describe('a limit of regions', () => {
  const start = async (tier: 'auto' | 'translator') => {
    const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], tier, maxRegions });
    const guest = new SmallGuest(tcg);
    for (let i = 0; i < loops; i++) guest.write(firstPage + i * 0x1000, loop(i));
    const statistics = () => (guest.vcpu as unknown as { statistics(): TcgStatistics }).statistics();
    const run = (i: number) => {
      guest.setEntry(firstPage + i * 0x1000);
      assert.equal(guest.run().kind, 'halt');
      assert.equal(guest.gpr(RAX), i * rounds);
    };
    return { run, statistics };
  };

  for (const tier of ['auto', 'translator'] as const) {
    it(`holds, and what was dropped is translated again, ${tier}`, async () => {
      const { run, statistics } = await start(tier);
      for (let i = 0; i < loops; i++) {
        run(i);
        assert.ok(statistics().regions <= maxRegions, `${statistics().regions}`);
      }
      const before = statistics().translations;
      assert.ok(before >= loops);
      run(0);
      assert.ok(statistics().translations > before);
      assert.equal(statistics().codeFlushes, 0);
    });
  }

  it('keeps what is at work', async () => {
    const { run, statistics } = await start('auto');
    const firstTranslations = () => statistics().translations - statistics().retranslations;
    run(0);
    for (let i = 1; i < loops; i++) {
      run(i);
      const before = firstTranslations();
      run(0);
      assert.equal(firstTranslations(), before, `after ${i}`);
    }
    assert.ok(firstTranslations() >= loops);
  });
});
