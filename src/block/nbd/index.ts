/** Network Block Device: a server for block nodes, and remote exports as block nodes. */
export { type NbdNodeOptions, openNbd } from './client.ts';
export {
  type ExportDescription,
  type ListedExport,
  listNbdExports,
  type NbdClientOptions,
} from './client-negotiation.ts';
export { type ExportFacts, type Negotiation, type NegotiationConfig, negotiation } from './negotiation.ts';
export { byteReader, ConnectionLost } from './reader.ts';
export { isReadOnlyExport, type NbdExport, type NbdServerOptions, serveNbd } from './server.ts';
export { bitmapContext, depthContext, type NbdContext, type StatusExtent } from './status.ts';
export { type NbdAddress, parseNbdName } from './uri.ts';
export { BASE_ALLOCATION, EXPORT_FLAG, NBD_PORT } from './wire.ts';
