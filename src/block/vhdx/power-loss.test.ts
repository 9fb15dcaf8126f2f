/** The power goes at any write: the image opens, its blocks do not overlap, and what was flushed is there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomFrom } from '../../contract/testing/random.ts';
import { powerLossFile } from '../testing/power-loss.ts';
import { createVhdx, vhdx } from './index.ts';

const BLOCK_BYTES = 2 ** 20;
/** Blocks so far apart that their entries lie in different pages of the table. */
const STRIDE_BYTES = 600 * BLOCK_BYTES;
/** More of them: VIREO_CRASHES=300. */
const CRASHES = Number(process.env.VIREO_CRASHES ?? 8);

for (const zeroBlocks of [true, false]) {
  test(`vhdx: the power goes again and again, blocks ${zeroBlocks ? 'zero' : 'absent'} at first`, async () => {
    const random = randomFrom(zeroBlocks ? 3 : 4);
    let file = powerLossFile();
    for (let crash = 0; crash < CRASHES; crash += 1) {
      // After some crashes all blocks have their place: begin again.
      if (crash % 6 === 0) {
        file = powerLossFile();
        await createVhdx(file.node, {
          sizeBytes: 16 * STRIDE_BYTES,
          blockBytes: BLOCK_BYTES,
          zeroBlocks,
          random: random.bytes,
        });
      }
      const node = await vhdx.open(file.node, { name: 'image', random: random.bytes });
      const stamped = 1 + (crash % 6);
      await node.write(stamped * STRIDE_BYTES + 512, new Uint8Array(4096).fill(crash + 1));
      await node.flush();
      file.failAfter(random.next(30));
      await assert.rejects(async () => {
        for (;;) {
          const offset = (8 + random.next(7)) * STRIDE_BYTES + random.next(100_000);
          await node.write(offset, new Uint8Array(3000).fill(0xee));
          if (random.next(3) === 0) await node.flush();
        }
      }, /the power is gone/);
      await file.lose(random);
      // Once more while the log is being applied.
      file.failAfter(random.next(8));
      await vhdx.open(file.node, { name: 'image', random: random.bytes }).catch(() => {});
      await file.lose(random);

      for (const readOnly of [true, false]) {
        const again = await vhdx.open(file.node, { name: 'image', readOnly, random: random.bytes });
        const { corruptions, messages } = await again.check!('none');
        assert.deepEqual({ crash, corruptions, messages }, { crash, corruptions: 0, messages: [] });
        const stamp = new Uint8Array(4096);
        await again.read(stamped * STRIDE_BYTES + 512, stamp);
        assert.deepEqual(stamp, new Uint8Array(4096).fill(crash + 1), `crash ${crash}`);
        // Around what was written, a block is zeros or what was there: never what lay in the file by chance.
        for (let index = 8; index < 15; index += 1) {
          const around = new Uint8Array(BLOCK_BYTES);
          await again.read(index * STRIDE_BYTES, around);
          const strange = around.findIndex((byte) => byte !== 0 && byte !== 0xee);
          assert.equal(strange, -1, `crash ${crash}`);
        }
        if (!readOnly) await again.close();
      }
    }
  });
}
