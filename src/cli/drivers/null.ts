/** Disks of zeros that keep nothing: `driver=null-co,size=1G`. */
import { parseBytes } from '../img/arguments.ts';
import { take } from './options.ts';
import type { Protocol } from './registry.ts';

const SIZE_DEFAULT = 2 ** 30;

export const nullProtocols: readonly Protocol[] = ['null-co', 'null-aio'].map((name) => ({
  name,
  open(options) {
    const size = take(options, 'size');
    take(options, 'latency-ns');
    take(options, 'read-zeroes');
    const sizeBytes = size === undefined ? SIZE_DEFAULT : parseBytes(size, 'size');
    return {
      sizeBytes,
      readOnly: false,
      limits: { alignmentBytes: 1, preferredBytes: 65536 },
      read: async (_offset, target) => {
        target.fill(0);
      },
      write: async () => {},
      flush: async () => {},
      extents: async (offset, length) => [{ offset, length, allocated: true, zero: true, data: false }],
      discard: async () => {},
      writeZeroes: async () => {},
      close: async () => {},
    };
  },
}));
