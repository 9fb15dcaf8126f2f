/** The VMDK format of VMware: sparse, flat, split and stream-optimized disks. */
import type { Format } from '../format.ts';
import { decodeUtf8 } from '../text.ts';
import { looksLikeDescriptor } from './descriptor.ts';
import { isVmdkHead, openVmdk } from './open.ts';

export { createVmdk, VMDK_SUBFORMATS, type VmdkCreateOptions, type VmdkSubformat } from './create.ts';
export { ADAPTER_TYPES as VMDK_ADAPTERS, type VmdkAdapter } from './descriptor.ts';

export const vmdk: Format = {
  name: 'vmdk',
  createOptions: [
    {
      name: 'adapter_type',
      help: 'Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX',
    },
    { name: 'backing_file', help: 'File name of a base image' },
    { name: 'backing_fmt', help: "Must be 'vmdk' if present" },
    { name: 'compat6', help: 'VMDK version 6 image' },
    { name: 'hwversion', help: 'VMDK hardware version' },
    { name: 'size', help: 'Virtual disk size' },
    {
      name: 'subformat',
      help: 'Can be one of monolithicSparse (default), monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat or streamOptimized',
    },
    { name: 'toolsversion', help: 'VMware guest tools version' },
    { name: 'zeroed_grain', help: 'Grains can be marked as zeros' },
  ],
  probe: (head) => (isVmdkHead(head) || looksLikeDescriptor(decodeUtf8(head)) ? 100 : 0),
  open: openVmdk,
};
