/** The raw format: the child as it is. */
import type { BlockNode } from '../contract/index.ts';
import { windowFilter } from './filters/window.ts';
import type { Format, ImageNode, OpenOptions } from './format.ts';

export const raw: Format = {
  name: 'raw',
  createOptions: [
    { name: 'preallocation', help: 'Preallocation mode (allowed values: off, falloc, full)' },
    { name: 'size', help: 'Virtual disk size' },
  ],
  probe: () => 1,
  async open(file, options) {
    return openRaw(file, options);
  },
};

function openRaw(whole: BlockNode, { readOnly = whole.readOnly, window }: OpenOptions): ImageNode {
  const file = window === undefined ? whole : windowFilter(whole, window);
  return {
    format: 'raw',
    info: {},
    get sizeBytes() {
      return file.sizeBytes;
    },
    readOnly,
    limits: file.limits,
    read: (offset, target) => file.read(offset, target),
    write: (offset, source) => file.write(offset, source),
    flush: () => file.flush(),
    extents: (offset, length) => file.extents(offset, length),
    discard: file.discard && ((offset, length) => file.discard!(offset, length)),
    writeZeroes: file.writeZeroes && ((offset, length, how) => file.writeZeroes!(offset, length, how)),
    resize: file.resize && ((sizeBytes) => file.resize!(sizeBytes)),
    immediate: file.immediate,
    close: () => file.close(),
  };
}
