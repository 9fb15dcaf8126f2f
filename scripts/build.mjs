// Builds dist/ from nothing, for `npm pack`. Plain JavaScript for Node 20.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { findNode, runOn, tooOldMessage } from '../bin/node.mjs';
import { root, setUp } from './setup.mjs';

setUp();
rmSync(join(root, 'dist'), { recursive: true, force: true });
const node = findNode();
if (node === undefined) throw new Error(tooOldMessage());
await runOn(node, [join(root, 'node_modules/typescript/bin/tsc'), '-b', root]);
