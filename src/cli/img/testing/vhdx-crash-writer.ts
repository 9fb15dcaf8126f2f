/**
 * Writes to a VHDX image until it is killed, and notes on standard output what
 * was flushed: one line with the round after each flush. Arguments: path, seed.
 */
import { writeSync } from 'node:fs';
import { vhdx } from '../../../block/index.ts';
import { randomFrom } from '../../../contract/testing/random.ts';
import { openFileNode } from '../../../host/node/index.ts';

const [path, seedText] = process.argv.slice(2);
const node = await vhdx.open(openFileNode(path, { io: 'blocking' }), { name: path });
const random = randomFrom(Number(seedText));
const blockBytes = node.limits.preferredBytes;
const blocks = Math.floor(node.sizeBytes / blockBytes);
for (let round = 1; ; round += 1) {
  // Blocks 0 and 1 hold the last rounds; the others are load, each byte of it 0xee.
  const stamp = new Uint8Array(4096).fill(round & 0xff);
  new DataView(stamp.buffer).setUint32(0, round);
  await node.write((round % 2) * blockBytes, stamp);
  for (let i = 0; i < 3; i += 1) {
    const offset = (2 + random.next(blocks - 2)) * blockBytes + random.next(blockBytes - 40_000);
    await node.write(offset, new Uint8Array(1 + random.next(40_000)).fill(0xee));
  }
  await node.flush();
  writeSync(1, `${round}\n`);
}
