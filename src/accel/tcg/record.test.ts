/** A CPU's record carries it from one engine to another, whatever tier they are, at any slice's end. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StateError } from '../../base/index.ts';
import type { RunExit } from '../../contract/index.ts';
import { state, X86_CPU } from '../../target/index.ts';
import { Random } from './testing/differential/random.ts';
import { dataSize, dataStart, programStart, startRandomProgram } from './testing/random-program.ts';
import { hex, type SmallGuest, smallGuest, tiers } from './testing/small-guest.ts';

const programs = 60;

/** What a program can see of its CPU, which time is no part of. */
function visible(guest: SmallGuest): unknown {
  const { tsc: _tsc, ...record } = X86_CPU.load(guest.vcpu.snapshot());
  return { record, data: Buffer.from(guest.ram.slice(dataStart, dataStart + dataSize)).toString('hex') };
}

/** The guest's RAM and CPU go to another one. */
function move(from: SmallGuest, to: SmallGuest): void {
  to.write(0, [...from.ram.subarray(0, 0x3_0000)]);
  to.vcpu.restore(from.vcpu.snapshot());
}

describe('the record of a CPU', () => {
  it('carries random programs between tiers at random moments', async () => {
    const guests = await Promise.all(tiers.map(smallGuest));
    const plain = await smallGuest('interpreter');
    const r = new Random(31, 0);
    let moves = 0;
    for (let i = 0; i < programs; i++) {
      startRandomProgram(plain, new Random(30, i));
      assert.equal(plain.run().kind, 'halt');
      let guest = guests[i % guests.length];
      startRandomProgram(guest, new Random(30, i));
      let exit: RunExit = { kind: 'slice' };
      for (let slices = 0; exit.kind === 'slice'; slices++) {
        assert.ok(slices < 10_000, `program ${i} does not end`);
        guest.cpu.set(state.budget, r.chance(95) ? 1 + r.below(30) : 1000);
        exit = guest.vcpu.run(1);
        if (exit.kind !== 'slice' || r.chance(70)) continue;
        const next = guests[r.below(guests.length)];
        if (next === guest) continue;
        move(guest, next);
        guest = next;
        moves++;
      }
      assert.deepEqual(visible(guest), visible(plain), `program ${i}`);
    }
    assert.ok(moves > programs, `${moves} moves`);
  });

  it('is the same when it is taken from a CPU that it was given to', async () => {
    const [one, other] = [await smallGuest('interpreter'), await smallGuest('translator')];
    startRandomProgram(one, new Random(32, 0));
    // FLD1, FLDPI: two x87 registers are in use.
    one.write(programStart, hex('D9 E8 D9 EB F4'));
    one.run();
    other.vcpu.restore(one.vcpu.snapshot());
    assert.deepEqual({ ...other.vcpu.snapshot(), tsc: 0n }, { ...one.vcpu.snapshot(), tsc: 0n });
  });

  it('keeps the time-stamp counter going', async () => {
    const [one, other] = [await smallGuest('interpreter'), await smallGuest('interpreter')];
    startRandomProgram(one, new Random(33, 0));
    const record = X86_CPU.load(one.vcpu.snapshot());
    const tsc = 1n << 62n;
    other.vcpu.restore(X86_CPU.save({ ...record, tsc }));
    const later = X86_CPU.load(other.vcpu.snapshot()).tsc;
    assert.ok(later >= tsc && later < tsc + 1_000_000_000n, `${later}`);
  });

  it('is refused by the name of the field that this CPU cannot have', async () => {
    const guest = await smallGuest('interpreter');
    startRandomProgram(guest, new Random(34, 0));
    const record = X86_CPU.load(guest.vcpu.snapshot());
    const cases: readonly (readonly [Partial<typeof record>, string])[] = [
      [{ xcr0: 0xe7n }, 'xcr0'],
      [{ tscHertz: 5n }, 'tscHertz'],
      [{ otherMsrs: [{ index: 0xc001_1029, value: 1n }] }, 'otherMsrs'],
      [{ xsave: new Uint8Array(100) }, 'xsave'],
    ];
    for (const [change, field] of cases) {
      assert.throws(
        () => guest.vcpu.restore(X86_CPU.save({ ...record, ...change })),
        (error) => error instanceof StateError && error.field === field,
      );
    }
  });
});
