import type { BlockNode } from '../../contract/index.ts';
import { cow, createCow } from '../cow/index.ts';
import type { Format } from '../format.ts';
import { memoryNode } from '../memory.ts';
import { createParallels, parallels } from '../parallels/index.ts';
import { createQcow, qcow } from '../qcow/index.ts';
import { createVdi, vdi } from '../vdi/index.ts';
import { createVhd, vhd } from '../vhd/index.ts';
import { createVmdk, type VmdkCreateOptions, vmdk } from '../vmdk/index.ts';
import { testCompression } from './compression.ts';
import { powerLossSuite } from './power-loss-suite.ts';

const MIB = 2 ** 20;
const vhdOptions = { uuid: new Uint8Array(16).fill(1), nowSeconds: 1_700_000_000 };
const vdiUuids = { imageUuid: new Uint8Array(16).fill(1), snapshotUuid: new Uint8Array(16).fill(2) };
const parent = { filename: 'zeros', uuid: new Uint8Array(16).fill(3), modifiedSeconds: 0 };

function makeVmdk(file: BlockNode, options: Partial<VmdkCreateOptions> & { sizeBytes: number }): Promise<void> {
  const createExtent = async () => memoryNode(0);
  return createVmdk(file, { filename: 'image', cid: 1, createExtent, ...options });
}

interface Row {
  readonly name: string;
  readonly format: Format;
  readonly strideBytes: number;
  readonly create: (file: BlockNode, sizeBytes: number) => Promise<void>;
}

const ROWS: readonly Row[] = [
  { name: 'vmdk', format: vmdk, strideBytes: 40 * MIB, create: (file, sizeBytes) => makeVmdk(file, { sizeBytes }) },
  {
    name: 'vmdk, streamOptimized',
    format: vmdk,
    strideBytes: 40 * MIB,
    create: (file, sizeBytes) => makeVmdk(file, { sizeBytes, subformat: 'streamOptimized' }),
  },
  {
    name: 'vhd',
    format: vhd,
    strideBytes: 3 * MIB,
    create: (file, sizeBytes) => createVhd(file, { ...vhdOptions, sizeBytes }),
  },
  {
    name: 'vhd, differencing',
    format: vhd,
    strideBytes: 3 * MIB,
    create: (file, sizeBytes) => createVhd(file, { ...vhdOptions, sizeBytes, parent }),
  },
  {
    name: 'vdi',
    format: vdi,
    strideBytes: 3 * MIB,
    create: (file, sizeBytes) => createVdi(file, { ...vdiUuids, sizeBytes }),
  },
  { name: 'qcow', format: qcow, strideBytes: 5 * MIB, create: (file, sizeBytes) => createQcow(file, { sizeBytes }) },
  { name: 'cow', format: cow, strideBytes: MIB / 8, create: (file, sizeBytes) => createCow(file, { sizeBytes }) },
  {
    name: 'parallels',
    format: parallels,
    strideBytes: 40 * MIB,
    create: (file, sizeBytes) => createParallels(file, { sizeBytes, clusterBytes: 65_536 }),
  },
];

for (const { name, format, strideBytes, create } of ROWS) {
  powerLossSuite(name, {
    strideBytes,
    create,
    open: (file, readOnly, random) =>
      format.open(file, {
        name: 'image',
        readOnly,
        random: random.bytes,
        compression: testCompression,
        resolveBacking: async () => memoryNode(0),
      }),
  });
}
