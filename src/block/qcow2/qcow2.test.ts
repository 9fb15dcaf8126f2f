import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, type Qcow2CreateOptions, qcow2 } from './index.ts';

const VARIANTS: Readonly<Record<string, Omit<Qcow2CreateOptions, 'sizeBytes'>>> = {
  'version 3': {},
  'version 2': { version: 2 },
  'clusters of 512 bytes': { clusterBytes: 512 },
  'clusters of 2 MiB': { clusterBytes: 2 ** 21 },
  'counts of 1 bit': { clusterBytes: 4096, refcountBits: 1 },
  'counts of 64 bits': { clusterBytes: 1024, refcountBits: 64 },
  'extended L2 entries': { extendedL2: true },
};

for (const [name, variant] of Object.entries(VARIANTS)) {
  let file = memoryNode(0);
  blockNodeSuite(`qcow2, ${name}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createQcow2(file, { ...variant, sizeBytes });
      return qcow2.open(file, { name: 'test' });
    },
    reopen: () => qcow2.open(file, { name: 'test' }),
  });
}
