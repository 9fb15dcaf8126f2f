/** Node's error codes in the terms of the socket joint. */
import { UserError } from '../../base/index.ts';
import type { HostEndpoint, HostFailure } from '../../contract/index.ts';

const FAILURE_OF_CODE: Readonly<Record<string, HostFailure>> = {
  ECONNREFUSED: 'refused',
  ENOENT: 'refused', // no such unix socket
  ENETUNREACH: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  ENETDOWN: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ENOTFOUND: 'unreachable',
  ETIMEDOUT: 'timeout',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  EADDRINUSE: 'in-use',
  EACCES: 'denied',
  EPERM: 'denied',
  EMFILE: 'limit',
  ENFILE: 'limit',
};

export function failureOf(error: NodeJS.ErrnoException): HostFailure {
  return FAILURE_OF_CODE[error.code ?? ''] ?? 'other';
}

export function endpointText(endpoint: HostEndpoint): string {
  if (endpoint.kind === 'unix') return endpoint.path;
  const { address, port } = endpoint;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

const REASONS: Readonly<Partial<Record<HostFailure, string>>> = {
  'in-use': 'it is in use',
  denied: 'it is not permitted',
  unreachable: 'this host has no such address',
  limit: 'too many files are open',
};

export function cannotListen(endpoint: HostEndpoint, error: NodeJS.ErrnoException): UserError {
  return new UserError(`cannot listen on ${endpointText(endpoint)}: ${REASONS[failureOf(error)] ?? error.message}`);
}
