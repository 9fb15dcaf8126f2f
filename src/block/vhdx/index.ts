/** The VHDX format of Hyper-V: dynamic and fixed disks, with its log. */
import type { Format } from '../format.ts';
import { isVhdx } from './headers.ts';
import { openVhdx } from './image.ts';

export { createVhdx, type VhdxCreateOptions } from './create.ts';

export const vhdx: Format = {
  name: 'vhdx',
  createOptions: [
    { name: 'block_size', help: 'Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.' },
    { name: 'block_state_zero', help: 'Say of blocks without a place that they are zeros (default: on)' },
    { name: 'log_size', help: 'Log size; min 1MB.' },
    { name: 'size', help: 'Virtual disk size; max of 64TB.' },
    { name: 'subformat', help: "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'." },
  ],
  probe: (head) => (isVhdx(head) ? 100 : 0),
  open: openVhdx,
};
