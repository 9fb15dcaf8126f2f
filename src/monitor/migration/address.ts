/** Where a machine goes to or comes from, as `migrate` and `-incoming` say it. */
import type { ByteStream, HostEndpoint } from '../../contract/index.ts';
import { QmpError } from '../qmp/errors.ts';

export type MigrationAddress =
  | HostEndpoint
  /** A shell command: written to its input, or read from its output. */
  | { readonly kind: 'exec'; readonly command: string }
  | { readonly kind: 'file'; readonly path: string; readonly offset: number }
  /** An open file of ours. */
  | { readonly kind: 'fd'; readonly fd: number };

/** One way or both; as much of a stream as migration needs. */
export interface MigrationStream extends Pick<ByteStream, 'read' | 'write' | 'destroy'> {
  /** Somebody on the other side can answer. */
  readonly answers: boolean;
  /** Resolves when everything that was written is where it goes; rejects when it did not get there. */
  finish(): Promise<void>;
}

export interface MigrationHost {
  connect(to: MigrationAddress): Promise<MigrationStream>;
  /** Calls `accept` once, when the sender is there. @returns where it listens, for sockets */
  listen(
    at: MigrationAddress,
    accept: (stream: MigrationStream) => void,
  ): Promise<{ readonly endpoint?: HostEndpoint; close(): void }>;
}

/** @param descriptor of the name that `getfd` gave it. Throws QmpError. */
export function parseAddress(uri: string, descriptor: (name: string) => number): MigrationAddress {
  const [, kind, rest] = /^([a-z]+):(.*)$/s.exec(uri) ?? [];
  switch (kind) {
    case 'unix':
      if (rest === '') throw new QmpError('the path of the socket is missing: unix:PATH');
      return { kind, path: rest };
    case 'tcp':
      return inetAddress(rest);
    case 'exec':
      if (rest.trim() === '') throw new QmpError('the command is missing: exec:COMMAND');
      return { kind, command: rest };
    case 'file':
      return fileAddress(rest);
    case 'fd':
      return { kind, fd: /^\d+$/.test(rest) ? Number(rest) : descriptor(rest) };
    default:
      throw new QmpError(`unknown migration protocol: ${uri}`);
  }
}

/** `HOST:PORT`, `[V6]:PORT` or `:PORT`, with options behind commas that QEMU takes for sockets. */
function inetAddress(text: string): MigrationAddress {
  const [, v6, host = '', port] = /^(?:\[([^\]]+)\]|([^:,]*)):(\d+)$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65535) throw new QmpError(`'${text}' is not HOST:PORT`);
  return { kind: 'inet', address: v6 ?? (host === '' ? '0.0.0.0' : host), port: Number(port) };
}

function fileAddress(text: string): MigrationAddress {
  const [, path, offset = '0'] = /^(.*?)(?:,offset=(\d+|0x[\da-f]+))?$/is.exec(text)!;
  if (path === '') throw new QmpError('the file is missing: file:PATH');
  return { kind: 'file', path, offset: Number(offset) };
}
