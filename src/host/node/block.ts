/** The adapters that disk images in files need: a second face of the room, for programs whose start counts. */

export { nodeCompression } from './block-compression.ts';
export { nodeCrypto } from './block-crypto.ts';
export { allocatedBytes, type FileNodeOptions, openFileNode } from './block-file.ts';
export { type FileCopier, fileCopier } from './block-offload.ts';
