/** The first qcow format: version 1, which QEMU calls qcow. */
import type { Format } from '../format.ts';
import { isQcow } from './layout.ts';
import { openQcow } from './open.ts';

export { createQcow, type QcowCreateOptions } from './create.ts';

export const qcow: Format = {
  name: 'qcow',
  createOptions: [
    { name: 'backing_file', help: 'File name of a base image' },
    { name: 'backing_fmt', help: 'Format of the backing image' },
    { name: 'encrypt.format', help: "Encrypt the image, format choices: 'aes'" },
    { name: 'encrypt.key-secret', help: 'ID of the secret that provides the AES encryption key' },
    { name: 'size', help: 'Virtual disk size' },
  ],
  probe: (head) => (isQcow(head) ? 100 : 0),
  open: openQcow,
};
