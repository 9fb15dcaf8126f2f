/** Adapters to the outside for pages and their workers. */
export { opfsNode, type SyncAccessHandle } from './block-opfs.ts';
