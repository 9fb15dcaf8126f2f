import { blockNodeSuite } from '../contract/testing/block-node-suite.ts';
import { memoryNode } from './memory.ts';
import { raw } from './raw.ts';

let last = memoryNode(0);

blockNodeSuite('memory', {
  create: async (size) => (last = memoryNode(size)),
  reopen: async () => last,
});

blockNodeSuite('raw over memory', {
  create: (size) => raw.open((last = memoryNode(size)), { name: 'test' }),
  reopen: () => raw.open(last, { name: 'test' }),
});
