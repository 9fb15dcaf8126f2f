import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import type { ImageNode } from '../format.ts';
import { powerLossFile } from '../testing/power-loss.ts';
import { createQcow2, type Qcow2CreateOptions, qcow2 } from './index.ts';

const VARIANTS: readonly Omit<Qcow2CreateOptions, 'sizeBytes'>[] = [
  { clusterBytes: 512 },
  { clusterBytes: 4096 },
  { clusterBytes: 16384, extendedL2: true },
];
const SIZE = 512 * 1024;

async function change(node: ImageNode, random: Random): Promise<void> {
  const offset = 8192 + random.next(SIZE - 32_768);
  const kind = random.next(10);
  if (kind < 6) await node.write(offset, random.bytes(1 + random.next(12_000)));
  else if (kind === 6) await node.discard!(offset, 20_000);
  else if (kind === 7) await node.writeZeroes!(offset, 9000, { mayUnmap: random.next(2) === 0 });
  else if (kind === 8) await node.flush();
  else await node.read(offset, new Uint8Array(100));
}

async function changeForEver(node: ImageNode, random: Random): Promise<never> {
  for (;;) await change(node, random);
}

for (const variant of VARIANTS) {
  test(`the power goes again and again: ${JSON.stringify(variant)}`, async () => {
    const random = randomFrom(7);
    const file = powerLossFile();
    await createQcow2(file.node, { ...variant, sizeBytes: SIZE });
    for (let crash = 0; crash < 60; crash += 1) {
      const node = await qcow2.open(file.node, { name: 'image' });
      await node.write(0, new Uint8Array(4096).fill(crash + 1));
      await node.flush();
      file.failAfter(random.next(40));
      await assert.rejects(changeForEver(node, random), /the power is gone/);
      await file.lose(random);

      const again = await qcow2.open(file.node, { name: 'image' });
      const found = await again.check!('none');
      assert.deepEqual(
        { crash, ...found, messages: [] },
        { ...found, crash, corruptions: 0, checkErrors: 0, messages: [] },
      );
      const stamp = new Uint8Array(4096);
      await again.read(0, stamp);
      assert.deepEqual(stamp, new Uint8Array(4096).fill(crash + 1));
      await again.check!('leaks');
      assert.equal((await again.check!('none')).leaks, 0);
      await again.close();
    }
  });
}
