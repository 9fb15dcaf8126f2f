/** Adapters to the outside for programs that run in Node. */

export * from './block.ts';
export { type HttpSource, type HttpSourceOptions, openHttpSource } from './block-http.ts';
export { createRbdImage, openRbdNode, type RbdNodeOptions, type RbdPlace } from './block-rbd.ts';
export { openCharBackend } from './char-backends.ts';
export type { Discard } from './discard.ts';
export type { DefaultGuest, DefaultGuestOptions } from './guest/default-guest.ts';
export { defaultGuest } from './guest/default-guest.ts';
export { withExec } from './guest/initramfs.ts';
export { nodeKvmHost } from './kvm-host.ts';
export * from './machine.ts';
export {
  byteStreamOf,
  connectByteStream,
  listenByteStreams,
  type StreamOptions,
} from './nbd-stream.ts';
export { loadTlsCredentials, type TlsCredentials, type TlsFiles } from './nbd-tls.ts';
export { systemClock } from './net-clock.ts';
export { nodeFolder } from './net-folder.ts';
export { nodeResolver, type ResolverFiles } from './net-resolver.ts';
export { openTap, type TapLink } from './net-tap.ts';
export { openSharedFolder } from './share.ts';
