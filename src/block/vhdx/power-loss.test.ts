/** Without any one of the barriers of `commit`, of `writeHeader` or of `applyLog` a test here fails. */
import assert from 'node:assert/strict';
import type { BlockNode } from '../../contract/index.ts';
import { powerLossSuite } from '../testing/power-loss-suite.ts';
import { readHeader } from './headers.ts';
import { createVhdx, vhdx } from './index.ts';
import { findLogSequence, isEmptyLog } from './log.ts';

const MIB = 2 ** 20;

/** A log that counts has something whole in it: other programs would call the image broken. */
async function assertLog(file: BlockNode): Promise<void> {
  const { header } = await readHeader(file, 'image');
  if (!isEmptyLog(header)) assert.ok((await findLogSequence(file, header, 'image')) !== undefined);
}

for (const zeroBlocks of [true, false]) {
  powerLossSuite(`vhdx, blocks ${zeroBlocks ? 'zero' : 'absent'} at first`, {
    strideBytes: 600 * MIB,
    create: (file, sizeBytes, random) =>
      createVhdx(file, { sizeBytes, blockBytes: MIB, zeroBlocks, random: random.bytes }),
    open: (file, readOnly, random) => vhdx.open(file, { name: 'image', readOnly, random: random.bytes }),
    afterLoss: assertLog,
  });
}
