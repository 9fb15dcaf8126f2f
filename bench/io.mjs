// `npm run bench:io`: all the set-up, then the measurements. Plain JavaScript for Node 20.
import { fileURLToPath } from 'node:url';
import { findNode, runOn, tooOldMessage } from '../bin/node.mjs';
import { setUp } from '../scripts/setup.mjs';

setUp();
const node = findNode();
if (node === undefined) {
  process.stderr.write(`vireo: ${tooOldMessage()}\n`);
  process.exitCode = 1;
} else {
  await runOn(node, [fileURLToPath(new URL('io/main.ts', import.meta.url)), ...process.argv.slice(2)]);
}
