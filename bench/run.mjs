// `npm run bench` and its siblings: all the set-up, then the measurements of the named file here. Plain JavaScript for Node 20.
import { fileURLToPath } from 'node:url';
import { findNode, runOn, tooOldMessage } from '../bin/node.mjs';
import { setUp } from '../scripts/setup.mjs';

const [file, ...args] = process.argv.slice(2);
setUp();
const node = findNode();
if (node === undefined) {
  process.stderr.write(`vireo: ${tooOldMessage()}\n`);
  process.exitCode = 1;
} else {
  await runOn(node, [fileURLToPath(new URL(file, import.meta.url)), ...args]);
}
