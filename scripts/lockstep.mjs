// `npm run test:lockstep`: translated programs compared with the interpreter. Plain JavaScript for Node 20.
import { join } from 'node:path';
import { findNode, runOn, tooOldMessage } from '../bin/node.mjs';
import { root, setUp } from './setup.mjs';

setUp();
const node = findNode();
if (node === undefined) {
  process.stderr.write(`vireo: ${tooOldMessage()}\n`);
  process.exit(1);
}
await runOn(node, [join(root, 'src/accel/tcg/testing/differential/lockstep-main.ts'), ...process.argv.slice(2)]);
