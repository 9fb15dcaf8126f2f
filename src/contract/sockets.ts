/**
 * The socket joint: what a host offers to whoever splices a guest's network to
 * the outside. Everything is asynchronous; events come from the host's loop, in
 * the thread that opened the socket. Addresses are text without brackets.
 */

export type HostEndpoint =
  | { readonly kind: 'inet'; readonly address: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** Why a host refused something, in terms that a network stack can pass on. */
export type HostFailure = 'refused' | 'unreachable' | 'timeout' | 'reset' | 'in-use' | 'denied' | 'limit' | 'other';

/** A byte stream: TCP, a unix socket or a program's input and output. */
export interface HostStream {
  /** Queues bytes, which belong to the stream from now on; `written` reports each as it leaves. */
  write(bytes: Uint8Array): void;
  /** No more writes: what is queued goes out, then the end. Reading goes on. */
  end(): void;
  /** Ends both directions at once and drops what is queued; no event follows. */
  destroy(): void;
  /** Stops and starts `data`; a few may still come after `pause`. */
  pause(): void;
  resume(): void;
}

export interface HostStreamEvents {
  /** A stream that was asked for is connected; accepted ones are from the start. */
  connected?(): void;
  /** Bytes that belong to the receiver. */
  data(bytes: Uint8Array): void;
  written?(byteCount: number): void;
  /** The other side will send no more; writing goes on. */
  ended(): void;
  /** Both directions are over: after `ended` and `end()`, or at once with a failure. Comes at most once, as the last. */
  closed(failure: HostFailure | undefined): void;
}

export interface HostListener {
  /** Where it listens; an inet port that was asked for as 0 is the one that was given. */
  readonly endpoint: HostEndpoint;
  close(): void;
}

export interface HostDatagramSocket {
  readonly endpoint: HostEndpoint;
  /** Borrows nothing: the bytes belong to the socket. A full queue drops, as the network does. */
  send(bytes: Uint8Array, to: HostEndpoint): void;
  /**
   * From now on datagrams come from this peer only, and `failed` tells when it refuses what is sent to it; undefined:
   * from all again. Absent where hosts cannot.
   */
  connect?(to: HostEndpoint | undefined): void;
  close(): void;
}

export interface HostDatagramEvents {
  /** Bytes that belong to the receiver; `from` is undefined for an unnamed unix socket. */
  message(bytes: Uint8Array, from: HostEndpoint | undefined): void;
  /** The socket is of no use any more, or a send failed. */
  failed(failure: HostFailure): void;
}

export interface MulticastOptions {
  readonly group: string;
  /** Address of the interface to use. */
  readonly localAddress?: string;
}

export interface HostSockets {
  /** Begins to connect; `connected` or `closed` tells the outcome, never before this returns. */
  connect(to: HostEndpoint, events: HostStreamEvents): HostStream;
  /** Rejects with a `UserError` that names the endpoint. `accept` returns who takes the stream's events. */
  listen(
    at: HostEndpoint,
    accept: (stream: HostStream, from: HostEndpoint | undefined) => HostStreamEvents,
  ): Promise<HostListener>;
  /** Rejects with a `UserError` that names the endpoint. */
  openDatagram(at: HostEndpoint, events: HostDatagramEvents, multicast?: MulticastOptions): Promise<HostDatagramSocket>;
  /** Runs a program and gives its input and output as a stream; absent where there are no programs. */
  spawn?(command: string, events: HostStreamEvents): HostStream;
}

/** How the host resolves names (resolv.conf(5), hosts(5)). */
export interface HostResolver {
  /** Name servers in order of preference. */
  servers(): readonly HostEndpoint[];
  /** Domains that are tried after a short name. */
  searchDomains(): readonly string[];
  /** Addresses that the host's own table gives a name; empty when it is not there. */
  hosts(name: string): readonly string[];
}

/** A folder that is served read-only. */
export interface HostFolder {
  /** Undefined when there is no such readable plain file inside the folder, symbolic links followed. */
  open(path: string): Promise<HostFile | undefined>;
}

export interface HostFile {
  readonly sizeBytes: number;
  /** Fills from `offset`; returns how many bytes there were. */
  read(offset: number, target: Uint8Array): Promise<number>;
  close(): Promise<void>;
}
