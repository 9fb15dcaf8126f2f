// `npm run bench:kvm`: KVM from TypeScript beside a C program and QEMU, in the same run. Plain JavaScript for Node 20.
import { join } from 'node:path';
import { findNode, runOn, tooOldMessage } from '../bin/node.mjs';
import { root, setUp } from '../scripts/setup.mjs';

setUp();
const node = findNode();
if (node === undefined) throw new Error(tooOldMessage());
await runOn(node, [join(root, 'node_modules/typescript/bin/tsc'), '-b', root]);
await runOn(node, [join(root, 'bench/kvm/main.ts'), ...process.argv.slice(2)]);
