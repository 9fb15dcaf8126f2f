/** The VHD format of Virtual PC and Hyper-V, which QEMU calls vpc: fixed, dynamic and differencing disks. */
import type { Format } from '../format.ts';
import { decodeUtf8 } from '../text.ts';
import { FOOTER_COOKIE } from './layout.ts';
import { openVhd } from './open.ts';

export { createVhd, type VhdCreateOptions, vhdGeometrySize } from './create.ts';

export const vhd: Format = {
  name: 'vpc',
  createOptions: [
    { name: 'backing_file', help: 'File name of a base image: makes a differencing disk' },
    { name: 'backing_fmt', help: "Must be 'vpc' if present" },
    {
      name: 'force_size',
      help: 'Exactly the size given, instead of the next one that cylinders, heads and sectors can tell',
    },
    { name: 'size', help: 'Virtual disk size' },
    { name: 'subformat', help: 'Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed}' },
  ],
  probe: (head) => (decodeUtf8(head.subarray(0, 8)) === FOOTER_COOKIE ? 100 : 0),
  open: openVhd,
};
