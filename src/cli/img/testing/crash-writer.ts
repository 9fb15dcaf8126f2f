/**
 * Writes to a qcow2 image until it is killed, and notes on standard output what
 * was flushed: one line `seed round` after each flush. Arguments: path, seed.
 */
import { writeSync } from 'node:fs';
import { qcow2 } from '../../../block/index.ts';
import { randomFrom } from '../../../contract/testing/random.ts';
import { nodeCompression, openFileNode } from '../../../host/node/index.ts';

const REGION_BYTES = 96 * 1024;

const [path, seedText] = process.argv.slice(2);
const node = await qcow2.open(openFileNode(path, { io: 'blocking' }), { name: path, compression: nodeCompression });
const random = randomFrom(Number(seedText));
const regions = Math.floor(node.sizeBytes / REGION_BYTES);
for (let round = 1; ; round += 1) {
  // Region 0 holds the round that was flushed last; the others are load.
  const stamp = new Uint8Array(4096).fill(round & 0xff);
  new DataView(stamp.buffer).setUint32(0, round);
  await node.write((round % 2) * 4096, stamp);
  for (let i = 0; i < 4; i += 1) {
    const offset = (1 + random.next(regions - 1)) * REGION_BYTES + random.next(4096);
    const kind = random.next(8);
    if (kind < 5) await node.write(offset, random.bytes(1 + random.next(80_000)));
    else if (kind === 5) await node.discard!(offset, 90_000);
    else if (kind === 6) await node.writeZeroes!(offset, 70_000, { mayUnmap: true });
    else await node.writeCompressed!(offset - (offset % 65536), new Uint8Array(65536).fill(round));
  }
  await node.flush();
  writeSync(1, `${round}\n`);
}
