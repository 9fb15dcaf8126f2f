import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteWide, PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeCharPort, FakeClock, FakeLine } from '../testing/fakes.ts';
import { Uart16550 } from './uart16550.ts';

const COM1 = 0x3f8;
const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH] = [0, 1, 2, 3, 4, 5, 6, 7].map((offset) => COM1 + offset);

function make() {
  const clock = new FakeClock();
  const irq = new FakeLine();
  const port = new FakeCharPort();
  const device = new Uart16550({ name: 'com1', irq, port, clock });
  const bus = new PortBus();
  bus.map(COM1, 8, byteWide(device), 'com1');
  const read = (port: number) => bus.read(port, 1);
  const write = (port: number, value: number) => bus.write(port, 1, value);
  return { clock, irq, port, device, read, write };
}

deviceStateSuite('16550A', () => {
  const { clock, device } = make();
  return { device, windows: [{ device: byteWide(device), size: 8 }], advance: (nanos) => clock.advance(nanos) };
});

test('output is gathered for a millisecond and nothing is lost or reordered', () => {
  const { clock, port, device, write } = make();
  for (const byte of [1, 2, 3]) write(DATA, byte);
  assert.deepEqual(port.sent, []);
  clock.advance(1_000_000);
  assert.deepEqual([port.sent, port.writes], [[1, 2, 3], 1]);

  for (let i = 0; i < 1500; i++) write(DATA, i & 0xff);
  assert.equal(port.sent.length, 3 + 1024);
  device.flush();
  assert.deepEqual(
    port.sent.slice(3),
    Array.from({ length: 1500 }, (_, i) => i & 0xff),
  );
});

test('Linux finds a 16550A: interrupt enable masks, loopback, FIFO identity, scratch (autoconfig in 8250_port.c)', () => {
  const { read, write } = make();
  write(IER, 0xff);
  assert.equal(read(IER), 0x0f);
  write(MCR, 0x10 | 0x08 | 0x02);
  assert.equal(read(MSR) & 0xf0, 0x90);
  write(IIR, 0x01);
  assert.equal(read(IIR) >> 6, 3);
  write(SCRATCH, 0xa5);
  assert.equal(read(SCRATCH), 0xa5);
});

test('the divisor is behind DLAB and leaves IER alone (8.3)', () => {
  const { read, write } = make();
  write(IER, 5);
  write(LCR, 0x83);
  write(DATA, 0x34);
  write(IER, 0x12);
  assert.deepEqual([read(DATA), read(IER)], [0x34, 0x12]);
  write(LCR, 0x03);
  assert.equal(read(IER), 5);
});

test('the transmitter-empty interrupt comes at each enabling, and reading IIR clears it (THRE bug test)', () => {
  const { irq, read, write } = make();
  write(MCR, 0x08);
  for (let round = 0; round < 2; round++) {
    write(IER, 0x02);
    assert.ok(irq.level);
    assert.equal(read(IIR) & 0x0f, 0x02);
    assert.equal(irq.level, false);
    write(IER, 0);
  }
  write(IER, 0x02);
  read(IIR);
  write(DATA, 0x41);
  assert.equal(irq.level, true);
});

test('received data: FIFO trigger level, and a timeout for less (8.4)', () => {
  const { clock, irq, port, read, write } = make();
  write(MCR, 0x08);
  write(IIR, 0x81); // trigger at 8
  write(IER, 0x01);
  assert.equal(port.offer(1, 2, 3), 3);
  assert.equal(irq.level, false);
  assert.equal(read(LSR) & 1, 1);
  clock.advance(400_000);
  assert.equal(irq.level, true);
  assert.equal(read(IIR), 0xcc);
  assert.equal(read(DATA), 1);
  assert.equal(irq.level, false);

  port.offer(4, 5, 6, 7, 8, 9);
  assert.equal(read(IIR), 0xc4);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 8].map(() => read(DATA)),
    [2, 3, 4, 5, 6, 7, 8, 9],
  );
  assert.equal(read(LSR) & 1, 0);
});

test('a full FIFO takes no more until there is room again', () => {
  const { port, read, write } = make();
  assert.equal(port.offer(1, 2), 1); // no FIFO: one byte
  write(IIR, 0x07);
  assert.equal(port.offer(...new Array(40).fill(7)), 16);
  read(DATA);
  assert.equal(port.offer(8, 9), 1);
});

test('priorities: line status, data, transmitter, modem (table III)', () => {
  const { port, read, write } = make();
  write(IIR, 0x01);
  write(MCR, 0x10);
  write(IER, 0x0f);
  write(MCR, 0x12); // RTS reaches CTS in loopback
  for (let i = 0; i < 17; i++) write(DATA, i);
  assert.equal(read(IIR) & 0x0f, 0x06);
  assert.equal(read(LSR) & 0x03, 0x03);
  assert.equal(read(IIR) & 0x0f, 0x04);
  write(IIR, 0x03);
  assert.equal(read(IIR) & 0x0f, 0x02);
  assert.equal(read(IIR) & 0x0f, 0x00);
  assert.equal(read(MSR), 0x1b); // CTS up; CTS, DSR and DCD have changed since they left the connected peer
  assert.equal(read(IIR) & 0x0f, 0x01);
  assert.deepEqual(port.sent, []);
});

test('OUT2 gates the interrupt pin, and loopback takes it away', () => {
  const { irq, write } = make();
  write(IER, 0x02);
  assert.equal(irq.level, false);
  write(MCR, 0x08);
  assert.equal(irq.level, true);
  write(MCR, 0x18);
  assert.equal(irq.level, false);
});
