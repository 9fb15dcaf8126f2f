/** Several vCPUs by turns on one engine: none sees what the others leave in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { state, X86_CPU, type X86CpuRecord } from '../../target/index.ts';
import { createTcg } from './index.ts';
import { Random } from './testing/differential/random.ts';
import { dataSize, randomProgram } from './testing/random-program.ts';
import { hex, ramSize, SmallGuest, tiers } from './testing/small-guest.ts';

const programs = 20;
const places = [
  { code: 0x1_0100, data: 0x2_0800, stack: 0x2_8000 },
  { code: 0x5_0100, data: 0x6_0800, stack: 0x6_8000 },
  { code: 0x9_0100, data: 0xa_0800, stack: 0xa_8000 },
];
const record = (guest: SmallGuest): X86CpuRecord => X86_CPU.load(guest.vcpu.snapshot());

function start(guest: SmallGuest, place: (typeof places)[number], seed: number): void {
  const r = new Random(40, seed);
  guest.write(place.code, randomProgram(r));
  guest.write(
    place.data,
    Array.from({ length: dataSize }, () => r.below(256)),
  );
  const registers = Object.fromEntries(state.gpr.map((f) => [f.name, r.u32()]));
  guest.vcpu.reset();
  guest.setEntry(place.code, { ...registers, rsp: place.stack, rbp: place.data, r15: 200 + r.below(300) });
}

function visible(guest: SmallGuest, { data }: (typeof places)[number]): unknown {
  const { general, rip, rflags, xsave, activity } = record(guest);
  return { general, rip, rflags, xsave, activity, data: Buffer.from(guest.ram.slice(data, data + dataSize)) };
}

for (const tier of tiers) {
  test(`random programs on three vCPUs, ${tier}`, async () => {
    const options = { cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], tier };
    const tcg = await createTcg(options);
    const guests = places.map(() => new SmallGuest(tcg));
    const alone = new SmallGuest(await createTcg({ ...options, tier: 'interpreter' }));
    const r = new Random(41, 0);
    for (let i = 0; i < programs; i++) {
      for (const [index, guest] of guests.entries()) start(guest, places[index], 3 * i + index);
      const running = new Set(guests);
      for (let turns = 0; running.size > 0; turns++) {
        assert.ok(turns < 100_000);
        const guest = r.pick([...running]);
        const exit = guest.vcpu.run(r.below(3) * 2000);
        if (exit.kind !== 'slice') running.delete(guest);
      }
      for (const [index, guest] of guests.entries()) {
        start(alone, places[index], 3 * i + index);
        alone.run();
        assert.deepEqual(visible(guest, places[index]), visible(alone, places[index]), `program ${3 * i + index}`);
      }
    }
  });
}

test('each vCPU knows its number, and how many there are', async () => {
  const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }] });
  const guests = [0, 1].map((index) => new SmallGuest(tcg, { index, count: 2 }));
  for (const [index, guest] of guests.entries()) {
    guest.write(0x1_0000, hex('B8 01 00 00 00 0F A2 F4')); // mov eax, 1; cpuid; hlt
    guest.setEntry(0x1_0000);
    assert.equal(guest.run().kind, 'halt');
    assert.equal(Number(record(guest).general[3] >> 16n), (index << 8) | 2);
  }
});

test('an interrupt for a vCPU that waits ends the slice of the one that runs', async () => {
  const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }] });
  const [one, other] = [new SmallGuest(tcg), new SmallGuest(tcg)];
  other.write(0x1_0000, hex('FB F4 EB FD')); // sti; hlt; again
  other.setEntry(0x1_0000);
  assert.equal(other.run().kind, 'halt');
  one.write(0x1_1000, hex('E6 80 EB FC')); // out 80h, al; again
  let writes = 0;
  one.onPortWrite = () => {
    if (++writes === 10) other.vcpu.interruptRequest();
    assert.ok(writes < 10_000);
  };
  one.setEntry(0x1_1000);
  assert.equal(one.vcpu.run(1e12).kind, 'slice');
  assert.ok(writes >= 10);
  assert.equal(other.vcpu.run(1e6).kind, 'halt');
  other.pendingVector = 0x30;
  other.run();
  assert.equal(record(other).activity, 'halted');
  assert.equal(other.pendingVector, -1);
});

test('an interrupt does not end a budget: where a guest spends its time is seen however often it is interrupted', async () => {
  const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }] });
  const guest = new SmallGuest(tcg);
  guest.write(0x1_0000, hex('E6 80 B9 E8 03 00 00 FF C9 75 FC EB F3')); // out 80h, al; mov ecx, 1000; dec ecx; jnz; again
  guest.setEntry(0x1_0000);
  let writes = 0;
  guest.onPortWrite = () => {
    guest.vcpu.interruptRequest();
    if (++writes === 1000) guest.vcpu.stop();
  };
  assert.equal(guest.vcpu.run(1e12).kind, 'slice');
  // A million branches, 5000 a budget.
  const { samplesInRegions, samplesInInterpreter } = guest.vcpu.statistics?.() ?? {};
  const samples = Number(samplesInRegions) + Number(samplesInInterpreter);
  assert.ok(samples >= 150 && samples <= 250, `${samples} samples`);
});
