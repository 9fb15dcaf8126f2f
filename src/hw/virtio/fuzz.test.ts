/** Random mistakes of a driver: rings, descriptors and registers are scribbled on while buffers go round. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../testing/device-state-suite.test.ts';
import { FEATURE } from './constants.ts';
import type { DriverOptions } from './testing/driver.ts';
import { echoDevice } from './testing/echo-device.ts';
import { rig } from './testing/rig.ts';

const ROUNDS = 400;

const VARIANTS: readonly DriverOptions[] = [
  {},
  { features: [FEATURE.indirectDescriptors, FEATURE.eventIndex], indirect: true },
  { features: [FEATURE.ringPacked] },
  { features: [FEATURE.ringPacked, FEATURE.indirectDescriptors, FEATURE.eventIndex], indirect: true },
];

for (const [variant, options] of VARIANTS.entries()) {
  test(`a driver gone mad never makes the device throw, and a reset heals it: variant ${variant}`, () => {
    const { seed, random } = seededRandom();
    const below = (limit: number) => Math.floor(random() * limit);
    let faults = 0;
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const device = echoDevice();
        const { driver: makeDriver, transport, mmio } = rig(device, round % 2 ? 'pci' : 'mmio');
        const driver = makeDriver(options).start(2);
        for (let step = 0; step < 20; step++) {
          const queue = driver.queues[below(2)];
          const areas = [queue.descriptors, queue.driverArea, queue.deviceArea];
          const chance = random();
          if (chance < 0.3 && queue.outstanding < 4) queue.add([new Uint8Array(1 + below(40))], [1 + below(40)]);
          else if (chance < 0.6) {
            const area = areas[below(3)];
            const at = below(Math.min(area.byteLength, 64) / 2) * 2;
            area.setUint16(at, random() < 0.5 ? below(20) : below(0x1_0000), true);
          } else if (chance < 0.65) mmio.write(0xc000_0000 + below(0x40) * 4, 4, below(2 ** 32));
          else if (chance < 0.75) device.answer(...device.held.keys());
          else queue.notify();
        }
        if (driver.needsReset) faults++;
        const healed = makeDriver({ ...options, memoryBase: 0x20_0000 }).start(2);
        healed.queues[0].send([Uint8Array.of(1, 2, 3)], [3]);
        assert.deepEqual(healed.queues[0].collect()[0].data, Uint8Array.of(1, 2, 3));
        assert.equal(transport.readStatus() & 0x40, 0);
      }
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    assert.ok(faults > ROUNDS / 20, `only ${faults} of ${ROUNDS} rounds reached a fault`);
  });
}
