import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeClock, FakeCpu } from '../testing/fakes.ts';
import { InterruptFabric } from './fabric.ts';
import { Lapic } from './lapic.ts';

const TPR = 0x80;
const PPR = 0xa0;
const EOI = 0xb0;
const LDR = 0xd0;
const DFR = 0xe0;
const SVR = 0xf0;
const ESR = 0x280;
const ICR = 0x300;
const ICR_HIGH = 0x310;
const LVT_TIMER = 0x320;
const LINT0 = 0x350;
const LINT1 = 0x360;
const LVT_ERROR = 0x370;
const INITIAL_COUNT = 0x380;
const CURRENT_COUNT = 0x390;
const DIVIDE = 0x3e0;
const DIVIDE_BY_1 = 0x0b;
const PERIODIC = 0x2_0000;
const TSC_DEADLINE = 0x4_0000;
/** The guest's TSC in these tests: 2 GHz. */
const TSC_PER_NANO = 2;

/** Some APICs on one fabric, software-enabled. */
function make(count = 1) {
  const clock = new FakeClock();
  const fabric = new InterruptFabric();
  const eois: number[] = [];
  fabric.addEoiListener({ endOfInterrupt: (vector) => eois.push(vector) });
  const external = { asks: false, vector: 0x20 };
  const apics = Array.from({ length: count }, (_, id) => {
    const cpu = new FakeCpu();
    const apic = new Lapic({
      name: `lapic${id}`,
      id,
      bootstrap: id === 0,
      cpu,
      fabric,
      external: {
        pending: () => external.asks,
        acknowledge: () => {
          external.asks = false;
          return external.vector;
        },
      },
      clock,
      nanosFromTsc: (low, high) => (high * 2 ** 32 + low) / TSC_PER_NANO,
    });
    const write = (offset: number, value: number) => apic.mmio.write(offset, 4, value);
    const read = (offset: number) => apic.mmio.read(offset, 4);
    const take = () => (apic.pendingVector() < 0 ? -1 : apic.acknowledge());
    write(SVR, 0x1ff);
    return { apic, cpu, read, write, take };
  });
  return { clock, fabric, eois, external, apics, ...apics[0] };
}

/** An MSI to physical APIC `id`. */
function msi(id: number): number {
  return 0xfee0_0000 | (id << 12);
}

deviceStateSuite('local APIC', () => {
  const { apic, clock } = make();
  apic.reset();
  return { device: apic, windows: [{ device: apic.mmio, size: 0x1000 }], advance: (nanos) => clock.advance(nanos) };
});

test('vectors are taken by priority and ended by EOI (11.8.4)', () => {
  const { apic, fabric, cpu, read, write, take } = make();
  fabric.send(msi(0), 0x41);
  fabric.send(msi(0), 0x82);
  assert.ok(cpu.log.includes('interrupt'));
  assert.equal(take(), 0x82);
  assert.equal(take(), -1);
  assert.equal(read(PPR), 0x80);
  fabric.send(msi(0), 0x91);
  assert.equal(take(), 0x91);
  write(EOI, 0);
  write(EOI, 0);
  assert.equal(take(), 0x41);
  assert.equal(read(0x100 + 0x20), 1 << 1);
  assert.equal(apic.pendingVector(), -1);
});

test('the task priority holds its class and lower back, and CR8 is its upper half (11.8.6)', () => {
  const { apic, fabric, read, write, take } = make();
  write(TPR, 0x4f);
  fabric.send(msi(0), 0x41);
  assert.deepEqual([take(), apic.readTpr()], [-1, 4]);
  apic.writeTpr(3);
  assert.deepEqual([take(), read(TPR)], [0x41, 0x30]);
});

test('a level vector broadcasts its EOI; an edge vector does not', () => {
  const { fabric, eois, write, take } = make();
  fabric.send(msi(0), 0xc051);
  fabric.send(msi(0), 0x0062);
  take();
  write(EOI, 0);
  assert.deepEqual(eois, []);
  take();
  write(EOI, 0);
  assert.deepEqual(eois, [0x51]);
});

test('the one-shot timer counts nanoseconds times the divider, once', () => {
  const { clock, read, write, take } = make();
  write(DIVIDE, 0x03); // by 16
  write(LVT_TIMER, 0x40);
  write(INITIAL_COUNT, 1000);
  clock.advance(1600);
  assert.equal(read(CURRENT_COUNT), 900);
  clock.advance(14_399);
  assert.equal(take(), -1);
  clock.advance(1);
  assert.deepEqual([take(), read(CURRENT_COUNT)], [0x40, 0]);
  write(EOI, 0);
  clock.advance(1e9);
  assert.equal(take(), -1);
});

test('the periodic timer goes on, one interrupt for any number of missed periods', () => {
  const { clock, write, take } = make();
  write(DIVIDE, DIVIDE_BY_1);
  write(LVT_TIMER, PERIODIC | 0x40);
  write(INITIAL_COUNT, 1_000_000);
  let count = 0;
  for (let i = 0; i < 100; i++) {
    clock.advance(100_000);
    if (take() >= 0) count++;
    write(EOI, 0);
  }
  assert.equal(count, 10);
  clock.jump(50_000_000);
  clock.advance(0);
  assert.equal(take(), 0x40);
  write(EOI, 0);
  assert.equal(take(), -1);
});

test('TSC-deadline mode fires at its TSC value, disarms at zero, and reads zero after', () => {
  const { apic, clock, read, write, take } = make();
  apic.writeTscDeadline(5000, 0);
  assert.deepEqual(apic.readTscDeadline(), { low: 0, high: 0 }); // not in the mode yet
  write(LVT_TIMER, TSC_DEADLINE | 0x40);
  apic.writeTscDeadline(20_000, 0);
  clock.advance(9_999);
  assert.deepEqual([take(), apic.readTscDeadline()], [-1, { low: 20_000, high: 0 }]);
  clock.advance(1);
  assert.deepEqual([take(), apic.readTscDeadline()], [0x40, { low: 0, high: 0 }]);
  write(EOI, 0);
  write(INITIAL_COUNT, 100);
  assert.equal(read(CURRENT_COUNT), 0);
  apic.writeTscDeadline(1, 0); // long past
  assert.equal(take(), 0x40);
  write(EOI, 0);
  apic.writeTscDeadline(0, 1);
  apic.writeTscDeadline(0, 0);
  clock.advance(1e10);
  assert.equal(take(), -1);
});

test('a masked timer counts and says nothing', () => {
  const { clock, read, write, take } = make();
  write(DIVIDE, DIVIDE_BY_1);
  write(LVT_TIMER, 0x1_0040);
  write(INITIAL_COUNT, 1000);
  clock.advance(999);
  assert.equal(read(CURRENT_COUNT), 1);
  clock.advance(1);
  assert.equal(take(), -1);
});

test('LINT0 passes the 8259s through in ExtINT mode, also with the APIC off', () => {
  const { apic, cpu, external, write, take } = make();
  external.asks = true;
  apic.lint0.set(true);
  assert.ok(cpu.log.includes('interrupt'));
  assert.equal(take(), 0x20);
  external.asks = true;
  write(LINT0, 0x1_0700);
  assert.equal(take(), -1);
  assert.ok(apic.writeBase(0xfee0_0000, 0));
  assert.equal(take(), 0x20);
});

test('LINT0 fixed and LINT1 NMI are taken at the rising edge', () => {
  const { apic, cpu, write, take } = make();
  write(LINT0, 0x45);
  write(LINT1, 0x400);
  apic.lint0.set(true);
  apic.lint1.set(true);
  assert.equal(take(), 0x45);
  assert.ok(cpu.log.includes('nmi'));
  assert.equal(take(), -1);
});

test('INIT, startup and NMI reach the CPU they name; shorthands reach the rest (11.6.1)', () => {
  const { apics, write } = make(3);
  const heard = () => apics.map(({ cpu }) => cpu.log.splice(0).filter((line) => line !== 'interrupt'));
  write(ICR_HIGH, 0x0100_0000);
  write(ICR, 0x4500);
  write(ICR, 0x0608);
  assert.deepEqual(heard(), [[], ['init', 'startup 8'], []]);
  write(ICR, 0x8500); // INIT level de-assert
  assert.deepEqual(heard(), [[], [], []]);
  write(ICR, 0xc_4400);
  assert.deepEqual(heard(), [[], ['nmi'], ['nmi']]);
  write(ICR, 0x8_4051);
  write(ICR, 0x4_4062);
  assert.deepEqual(
    apics.map(({ take }) => take()),
    [0x62, 0x51, 0x51],
  );
});

test('logical destinations: flat and cluster', () => {
  const { apics, fabric } = make(2);
  for (const [id, { write }] of apics.entries()) write(LDR, (1 << id) << 24);
  fabric.send(msi(3) | 4, 0x50);
  assert.deepEqual(
    apics.map(({ take }) => take()),
    [0x50, 0x50],
  );
  for (const [id, { write }] of apics.entries()) {
    write(EOI, 0);
    write(DFR, 0);
    write(LDR, (0x10 * (id + 1) + 1) * 2 ** 24);
  }
  fabric.send(msi(0x21) | 4, 0x51);
  assert.deepEqual(
    apics.map(({ take }) => take()),
    [-1, 0x51],
  );
});

test('lowest priority goes to one APIC, the least busy', () => {
  const { apics, fabric } = make(2);
  for (const [id, { write }] of apics.entries()) write(LDR, (1 << id) << 24);
  apics[0].write(TPR, 0x20);
  fabric.send(msi(3) | 4, 0x0150);
  assert.deepEqual(
    apics.map(({ take }) => take()),
    [-1, 0x50],
  );
});

test('x2APIC: registers are MSRs, 32-bit ids, self IPI; illegal accesses are refused (11.12)', () => {
  const { apics } = make(2);
  const { apic, read, take } = apics[1];
  assert.equal(apic.readX2apic(2), undefined);
  assert.ok(apic.writeBase(0xfee0_0c00, 0));
  assert.equal(read(TPR), 0xffff_ffff);
  assert.deepEqual(apic.readX2apic(0x02), { low: 1, high: 0 });
  assert.deepEqual(apic.readX2apic(0x0d), { low: 2, high: 0 });
  assert.ok(apic.writeX2apic(0x3f, 0x66, 0));
  assert.equal(take(), 0x66);
  assert.ok(apic.writeX2apic(0x0b, 0, 0));
  assert.ok(apic.writeX2apic(0x30, 0x0047, 0)); // fixed, vector 47h, to APIC 0
  assert.deepEqual(apic.readX2apic(0x30), { low: 0x47, high: 0 });
  assert.equal(apics[0].take(), 0x47);
  const refused: [number, number, number][] = [
    [0x0b, 1, 0], // EOI takes zero only
    [0x08, 0x100, 0], // reserved bit
    [0x08, 0, 1], // upper half
    [0x0d, 1, 0], // read-only
    [0x0e, 0xffff_ffff, 0], // no DFR
    [0x31, 0, 0], // no second ICR half
    [0x04, 0, 0], // no such register
  ];
  for (const [index, low, high] of refused) assert.equal(apic.writeX2apic(index, low, high), false, `index ${index}`);
  for (const index of [0x0b, 0x0e, 0x31, 0x3f, 0x04]) assert.equal(apic.readX2apic(index), undefined, `index ${index}`);
});

test('IA32_APIC_BASE: x2APIC is entered from xAPIC and left to off only (figure 11-27)', () => {
  const { apic } = make();
  assert.deepEqual(apic.readBase(), { low: 0xfee0_0900, high: 0 });
  assert.equal(apic.writeBase(0xfee0_0400, 0), false);
  assert.equal(apic.writeBase(0xfed0_0800, 0), false);
  assert.equal(apic.writeBase(0xfee0_0801, 0), false);
  assert.ok(apic.writeBase(0xfee0_0d00, 0));
  assert.equal(apic.writeBase(0xfee0_0900, 0), false);
  assert.ok(apic.writeBase(0xfee0_0100, 0));
  assert.equal(apic.writeBase(0xfee0_0d00, 0), false);
  assert.ok(apic.writeBase(0xfee0_0900, 0));
});

test('errors are shown after a write of ESR and raise the error vector (11.5.3)', () => {
  const { fabric, read, write, take } = make();
  write(LVT_ERROR, 0x70);
  fabric.send(msi(0), 0x05);
  assert.equal(take(), 0x70);
  write(ICR, 0x4_4003);
  read(0x40);
  assert.equal(read(ESR), 0);
  write(ESR, 0);
  assert.equal(read(ESR), 0xe0);
  write(ESR, 0);
  assert.equal(read(ESR), 0);
});

test('software-disabled, it masks its local vectors and takes no fixed interrupts, but NMI', () => {
  const { cpu, fabric, read, write, take } = make();
  write(LVT_TIMER, 0x40);
  write(SVR, 0x0ff);
  assert.equal(read(LVT_TIMER), 0x1_0040);
  write(LVT_TIMER, 0x40);
  assert.equal(read(LVT_TIMER), 0x1_0040);
  fabric.send(msi(0), 0x50);
  fabric.send(msi(0), 0x0400);
  assert.equal(take(), -1);
  assert.ok(cpu.log.includes('nmi'));
});
