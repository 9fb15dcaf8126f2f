import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteWide, PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeClock, FakeLine } from '../testing/fakes.ts';
import { AcpiPm } from './acpi-pm.ts';
import { ResetControl } from './reset-control.ts';

const STATUS = 0x600;
const ENABLE = 0x602;
const CONTROL = 0x604;
const TIMER = 0x608;
const GPE_STATUS = 0x620;
const GPE_ENABLE = 0x628;
const SMI_COMMAND = 0xb2;

function make() {
  const clock = new FakeClock();
  const sci = new FakeLine();
  const counts = { powerOffs: 0 };
  const device = new AcpiPm({
    name: 'acpi-pm',
    sci,
    clock,
    sleepTypeS5: 0,
    enableValue: 2,
    disableValue: 3,
    powerOff: () => {
      counts.powerOffs++;
    },
  });
  const bus = new PortBus();
  bus.map(0x600, 0x80, device.registers, 'pm');
  bus.map(SMI_COMMAND, 2, device.smiPorts, 'smi');
  return { clock, sci, counts, device, bus };
}

deviceStateSuite('ACPI power management', () => {
  const { device, clock } = make();
  const windows = [
    { device: device.registers, size: 0x80 },
    { device: device.smiPorts, size: 2 },
  ];
  return { device, windows, advance: (nanos) => clock.advance(nanos) };
});

deviceStateSuite('reset control', () => {
  const device = new ResetControl(() => {});
  return { device, windows: [{ device: byteWide(device), size: 1 }] };
});

test('the timer counts 3.579545 MHz in 24 bits', () => {
  const { clock, bus } = make();
  clock.advance(1e9);
  assert.equal(bus.read(TIMER, 4), 3_579_545);
  clock.advance(4e9);
  assert.equal(bus.read(TIMER, 4), (5 * 3_579_545) % 2 ** 24);
});

test('the SMI command port turns ACPI mode on and off', () => {
  const { bus } = make();
  bus.write(SMI_COMMAND, 1, 2);
  assert.equal(bus.read(CONTROL, 2) & 1, 1);
  bus.write(SMI_COMMAND, 1, 3);
  assert.equal(bus.read(CONTROL, 2) & 1, 0);
});

test('SLP_EN with the S5 type powers off; other types and the type alone do not', () => {
  const { bus, counts } = make();
  bus.write(CONTROL, 2, 0x1401);
  bus.write(CONTROL, 2, 0x3401);
  assert.equal(counts.powerOffs, 0);
  bus.write(CONTROL, 2, 0x2001);
  assert.equal(counts.powerOffs, 1);
  assert.equal(bus.read(CONTROL, 2), 0x0001);
});

test('the power button raises SCI in ACPI mode until its status is cleared', () => {
  const { device, sci, bus } = make();
  bus.write(ENABLE, 2, 0x0100);
  device.pressPowerButton();
  assert.equal(sci.level, false);
  bus.write(SMI_COMMAND, 1, 2);
  assert.equal(sci.level, true);
  bus.write(STATUS, 2, 0x0001);
  assert.equal(sci.level, true);
  bus.write(STATUS + 1, 1, 0x01);
  assert.deepEqual([sci.level, bus.read(STATUS, 2)], [false, 0]);
});

test('general-purpose events', () => {
  const { device, sci, bus } = make();
  bus.write(SMI_COMMAND, 1, 2);
  device.raiseEvent(1);
  assert.deepEqual([sci.level, bus.read(GPE_STATUS, 1)], [false, 2]);
  bus.write(GPE_ENABLE, 1, 2);
  assert.equal(sci.level, true);
  bus.write(GPE_STATUS, 1, 2);
  assert.equal(sci.level, false);
});

test('TMR_STS rises when the top bit of the timer changes', () => {
  const { clock, sci, bus } = make();
  bus.write(SMI_COMMAND, 1, 2);
  bus.write(ENABLE, 2, 0x0001);
  const halfNanos = (2 ** 23 / 3_579_545) * 1e9;
  clock.advance(Math.floor(halfNanos));
  assert.equal(sci.level, false);
  clock.advance(1000);
  assert.equal(sci.level, true);
  bus.write(STATUS, 2, 1);
  assert.equal(sci.level, false);
  clock.advance(halfNanos);
  assert.equal(sci.edges, 2);
});

test('the reset control register resets when RST_CPU goes up', () => {
  let resets = 0;
  const port = byteWide(
    new ResetControl(() => {
      resets++;
    }),
  );
  port.write(0, 1, 0x02);
  assert.equal(resets, 0);
  port.write(0, 1, 0x06);
  port.write(0, 1, 0x06);
  assert.deepEqual([resets, port.read(0, 1)], [1, 0x06]);
  port.write(0, 1, 0x00);
  port.write(0, 1, 0x0f);
  assert.equal(resets, 2);
});
