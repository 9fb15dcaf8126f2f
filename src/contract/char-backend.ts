/**
 * The outside end of a character line: a terminal, a file, a socket. What uses
 * one is a guest's serial port, a monitor or a channel.
 */
import type { HostEndpoint } from './sockets.ts';

/** Which backend, in QEMU's terms; paths and addresses are the host's. */
export type CharBackendSpec =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string; readonly append: boolean; readonly inputPath?: string }
  /** Named pipes PATH.in and PATH.out, or PATH for both ways. */
  | { readonly kind: 'pipe'; readonly path: string }
  | { readonly kind: 'pty' }
  /** An open file of ours. */
  | { readonly kind: 'fd'; readonly fd: number }
  | {
      readonly kind: 'socket';
      /** `fd`: a socket that was handed to us, listening for a server, connected for a client. */
      readonly address: HostEndpoint | { readonly kind: 'fd'; readonly fd: number };
      readonly server: boolean;
      /** A server: opening waits until somebody has connected. */
      readonly wait: boolean;
      /** Speaks enough of telnet (RFC 854) that its client passes on single keys. */
      readonly telnet: boolean;
      /** A client: connects again this long after the other side went; 0: never. */
      readonly reconnectMillis: number;
    };

export interface CharBackend {
  /** What people know it by, e.g. `pty:/dev/pts/3` or `disconnected:unix:/run/x,server=on`. */
  readonly label: string;
  /** Somebody is at the other side; what is written while nobody is, is lost. */
  readonly isOpen: boolean;
  /** Names who is told what happens; a backend has one receiver, and keeps nothing for it before. */
  connect(receiver: CharBackendReceiver): void;
  /** Queues bytes, which belong to the backend from now on. */
  write(bytes: Uint8Array): void;
  /** Bytes queued and not gone; who sees many should wait for `drained`. */
  readonly waitingBytes: number;
  /** Stops and starts `data`; a few bytes may still come after `pause`. */
  pause(): void;
  resume(): void;
  /** Hands over what is queued, for as long as a second, and ends. */
  close(): Promise<void>;
}

export interface CharBackendReceiver {
  opened?(): void;
  closed?(): void;
  /** Bytes that belong to the receiver. */
  data(bytes: Uint8Array): void;
  drained?(): void;
}

/** Opens backends. Throws UserError that names what could not be opened and why. */
export type OpenCharBackend = (spec: CharBackendSpec) => Promise<CharBackend>;
