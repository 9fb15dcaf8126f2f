// `npm run test:differential`: instructions compared with this machine's CPU, at any size. Plain JavaScript for Node 20.
import { join } from 'node:path';
import { findNode, runOn, tooOldMessage } from '../bin/node.mjs';
import { root, setUp } from './setup.mjs';

setUp();
const node = findNode();
if (node === undefined) {
  process.stderr.write(`vireo: ${tooOldMessage()}\n`);
  process.exit(1);
}
await runOn(node, [join(root, 'src/accel/tcg/testing/differential/main.ts'), ...process.argv.slice(2)]);
