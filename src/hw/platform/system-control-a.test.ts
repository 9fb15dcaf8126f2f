import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteWide } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { SystemControlA } from './system-control-a.ts';

function make() {
  const log: string[] = [];
  const device = new SystemControlA({
    setA20: (enabled) => log.push(`a20 ${enabled}`),
    onReset: () => log.push('reset'),
  });
  return { device, log, port: byteWide(device) };
}

deviceStateSuite('port 92h', () => {
  const { device, port } = make();
  return { device, windows: [{ device: port, size: 1 }] };
});

test('bit 1 gates A20 and can be read back; bit 0 resets', () => {
  const { log, port } = make();
  port.write(0, 1, 0x02);
  assert.equal(port.read(0, 1), 0x02);
  port.write(0, 1, 0x01);
  assert.equal(port.read(0, 1), 0x00);
  assert.deepEqual(log, ['a20 true', 'a20 false', 'reset']);
});
