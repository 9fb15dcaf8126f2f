import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteWide, PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeClock, FakeLine } from '../testing/fakes.ts';
import { Pit8254 } from './pit8254.ts';
import { SystemControlB } from './system-control-b.ts';

const TICK_NANOS = 1e9 / 1_193_182;
const CONTROL = 0x43;

function make() {
  const clock = new FakeClock();
  const irq = new FakeLine();
  const pit = new Pit8254({ name: 'pit', irq, clock });
  const control = new SystemControlB({ timer: pit, clock });
  const bus = new PortBus();
  bus.map(0x40, 4, byteWide(pit), 'pit');
  bus.map(0x61, 1, byteWide(control), 'port 61h');
  const write = (port: number, ...values: number[]) => {
    for (const value of values) bus.write(port, 1, value);
  };
  const read = (port: number) => bus.read(port, 1);
  const read16 = (port: number) => read(port) | (read(port) << 8);
  /** Half a tick past a whole number of them, so that rounding cannot matter. */
  const ticks = (count: number) => clock.advance(Math.round(count * TICK_NANOS));
  clock.advance(Math.round(0.5 * TICK_NANOS));
  return { clock, irq, pit, control, write, read, read16, ticks };
}

deviceStateSuite('8254', () => {
  const { clock, pit } = make();
  return { device: pit, windows: [{ device: byteWide(pit), size: 4 }], advance: (nanos) => clock.advance(nanos) };
});

deviceStateSuite('port 61h', () => {
  const { clock, control } = make();
  return { device: control, windows: [{ device: byteWide(control), size: 1 }], advance: (n) => clock.advance(n) };
});

test('mode 2 interrupts at 1,193,182 Hz divided by the count', () => {
  const { clock, irq, write } = make();
  write(CONTROL, 0x34);
  write(0x40, 0xa9, 0x04); // 1193: Linux at HZ=1000
  const before = irq.edges;
  clock.advance(1e9);
  assert.equal(irq.edges - before, 1000);
});

test('mode 3 has half its period high, and counts down by two', () => {
  const { irq, write, read16, ticks } = make();
  write(CONTROL, 0xb6);
  write(0x61, 0x01);
  write(0x42, 100, 0);
  ticks(10);
  assert.equal(read16(0x42), 80);
  write(CONTROL, 0x36);
  write(0x40, 100, 0);
  const before = irq.edges;
  ticks(1000);
  assert.equal(irq.edges - before, 10);
});

test('mode 0 raises OUT once, at terminal count', () => {
  const { irq, write, read16, ticks } = make();
  write(CONTROL, 0x30);
  assert.equal(irq.level, false);
  write(0x40, 0xe8, 0x03);
  ticks(999);
  assert.deepEqual([irq.level, read16(0x40)], [false, 1]);
  ticks(1);
  assert.equal(irq.level, true);
  ticks(10);
  assert.equal(read16(0x40), 0xfff6);
  ticks(70_000);
  assert.equal(irq.edges, 1);
});

test('mode 4 strobes low for one clock: one interrupt a count (Linux one-shot)', () => {
  const { irq, write, ticks } = make();
  write(CONTROL, 0x38);
  for (let shot = 0; shot < 3; shot++) {
    const before = irq.edges;
    write(0x40, 50, 0);
    ticks(50);
    assert.equal(irq.edges, before);
    ticks(200);
    assert.equal(irq.edges, before + 1);
  }
});

test('a new count in mode 2 waits for the end of the period', () => {
  const { irq, write, read, ticks } = make();
  write(CONTROL, 0x34);
  write(0x40, 100, 0);
  const before = irq.edges;
  ticks(50);
  write(0x40, 200, 0);
  write(CONTROL, 0xe2); // read back the status of counter 0
  assert.equal(read(0x40) & 0x40, 0x40);
  ticks(49);
  assert.equal(irq.edges, before);
  ticks(2);
  assert.equal(irq.edges, before + 1);
  write(CONTROL, 0xe2);
  assert.equal(read(0x40) & 0x40, 0);
  ticks(198);
  assert.equal(irq.edges, before + 1);
  ticks(2);
  assert.equal(irq.edges, before + 2);
});

test('modes 1 and 5 start at the rising gate', () => {
  for (const [control, during, atEnd] of [
    [0xb2, 0x00, 0x20],
    [0xba, 0x20, 0x00],
  ]) {
    const { write, read, ticks } = make();
    write(CONTROL, control);
    write(0x42, 100, 0);
    ticks(500);
    assert.equal(read(0x61) & 0x20, 0x20);
    write(0x61, 0x01);
    ticks(99);
    assert.equal(read(0x61) & 0x20, during);
    ticks(1);
    assert.equal(read(0x61) & 0x20, atEnd);
    ticks(1);
    assert.equal(read(0x61) & 0x20, 0x20);
  }
});

test('the gate of counter 2 stops mode 0 and OUT2 shows in port 61h (Linux TSC calibration)', () => {
  const { write, read, read16, ticks } = make();
  write(0x61, 0x01);
  write(CONTROL, 0xb0);
  write(0x42, 200, 0);
  ticks(100);
  write(0x61, 0x00);
  ticks(1000);
  assert.equal(read16(0x42), 100);
  write(0x61, 0x01);
  ticks(99);
  assert.equal(read(0x61) & 0x20, 0);
  ticks(1);
  assert.equal(read(0x61) & 0x20, 0x20);
});

test('a latched count stands still until it is read; read-back gives status first', () => {
  const { write, read, read16, ticks } = make();
  write(CONTROL, 0x34);
  write(0x40, 0x00, 0x10);
  ticks(0x10);
  write(CONTROL, 0x00);
  ticks(0x20);
  write(CONTROL, 0x00);
  assert.equal(read16(0x40), 0x0ff0);
  assert.equal(read16(0x40), 0x0fd0);
  write(CONTROL, 0xc2);
  ticks(1);
  assert.equal(read(0x40), 0xb4);
  assert.equal(read16(0x40), 0x0fd0);
});

test('BCD counts decimal, and zero means the most', () => {
  const { write, read16, ticks } = make();
  write(CONTROL, 0x35);
  write(0x40, 0x00, 0x10);
  ticks(1);
  assert.equal(read16(0x40), 0x0999);
  write(CONTROL, 0x34);
  write(0x40, 0, 0);
  ticks(1);
  assert.equal(read16(0x40), 0xffff);
});

test('a machine that was away sees one interrupt, not hundreds', () => {
  const { clock, irq, write } = make();
  write(CONTROL, 0x34);
  write(0x40, 0xa9, 0x04);
  const before = irq.edges;
  clock.jump(500_000_000);
  clock.advance(0);
  assert.equal(irq.edges - before, 1);
});

test('an absurd rate is thinned out', () => {
  const { clock, irq, write } = make();
  write(CONTROL, 0x34);
  write(0x40, 2, 0);
  const before = irq.edges;
  clock.advance(1_000_000);
  assert.equal(irq.edges - before, Math.floor(1_193.182 / 24));
});

test('the refresh bit toggles every 15 microseconds', () => {
  const { clock, read } = make();
  const seen = Array.from({ length: 8 }, () => {
    clock.advance(15_085);
    return read(0x61) & 0x10;
  });
  assert.deepEqual(seen.slice(0, 4), seen.slice(0, 2).concat(seen.slice(0, 2)));
  assert.notEqual(seen[0], seen[1]);
});
