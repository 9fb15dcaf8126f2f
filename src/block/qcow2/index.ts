/** The qcow2 format, versions 2 and 3. */
import type { Format } from '../format.ts';
import { isQcow2 } from './header.ts';
import { openQcow2 } from './open.ts';

export { createQcow2, type Measure, measureQcow2, QCOW2_DEFAULTS, type Qcow2CreateOptions } from './create.ts';

export const qcow2: Format = {
  name: 'qcow2',
  createOptions: [
    { name: 'backing_file', help: 'File name of a base image' },
    { name: 'backing_fmt', help: 'Image format of the base image' },
    { name: 'cluster_size', help: 'qcow2 cluster size' },
    { name: 'compat', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
    { name: 'compression_type', help: 'Compression method used for image cluster compression' },
    { name: 'data_file', help: 'File name of an external data file' },
    { name: 'data_file_raw', help: 'The external data file must stay valid as a raw image' },
    { name: 'encrypt.cipher-alg', help: 'Name of encryption cipher algorithm' },
    { name: 'encrypt.cipher-mode', help: 'Name of encryption cipher mode' },
    { name: 'encrypt.format', help: 'Encrypt the image, format choices: aes, luks' },
    { name: 'encrypt.hash-alg', help: 'Name of encryption hash algorithm' },
    { name: 'encrypt.iter-time', help: 'Time to spend in PBKDF in milliseconds' },
    { name: 'encrypt.ivgen-alg', help: 'Name of IV generator algorithm' },
    { name: 'encrypt.ivgen-hash-alg', help: 'Name of IV generator hash algorithm' },
    { name: 'encrypt.key-secret', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
    { name: 'encryption', help: 'Encrypt the image with format aes' },
    { name: 'extended_l2', help: 'Extended L2 tables' },
    { name: 'lazy_refcounts', help: 'Postpone refcount updates' },
    { name: 'preallocation', help: 'Preallocation mode (allowed values: off, metadata, falloc, full)' },
    { name: 'refcount_bits', help: 'Width of a reference count entry in bits' },
    { name: 'size', help: 'Virtual disk size' },
  ],
  probe: (head) => (isQcow2(head) ? 100 : 0),
  open: openQcow2,
};
