/** TLS credentials as QEMU's objects tls-creds-x509 and tls-creds-psk keep them in a folder. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConnectionOptions, checkServerIdentity, type TLSSocket, type TlsOptions } from 'node:tls';
import { UserError } from '../../base/index.ts';

export interface TlsCredentials {
  readonly serverOptions: TlsOptions;
  clientOptions(hostname: string | undefined): ConnectionOptions;
  /** Why the server refuses a client after the handshake, if it does. */
  refusal(socket: TLSSocket): string | undefined;
}

export interface TlsFiles {
  readonly kind: 'x509' | 'psk' | 'anon';
  readonly folder: string;
  readonly endpoint: 'server' | 'client';
  /** x509: whether a server wants a certificate of its clients, and a client checks the server's. */
  readonly verifyPeer?: boolean;
  /** psk: the user name of a client. */
  readonly username?: string;
}

/** @throws UserError that names the file which is missing */
export function loadTlsCredentials(files: TlsFiles): TlsCredentials {
  if (files.kind === 'psk') return pskCredentials(files);
  if (files.kind === 'x509') return x509Credentials(files);
  throw new UserError('tls-creds-anon: anonymous TLS is not supported: use tls-creds-x509 or tls-creds-psk');
}

function load(folder: string, name: string): string {
  const path = join(folder, name);
  if (!existsSync(path)) throw new UserError(`Unable to access credentials ${path}: No such file or directory`);
  return readFileSync(path, 'utf8');
}

function optional(folder: string, name: string): string | undefined {
  return existsSync(join(folder, name)) ? load(folder, name) : undefined;
}

function x509Credentials({ folder, endpoint, verifyPeer = true }: TlsFiles): TlsCredentials {
  const ca = load(folder, 'ca-cert.pem');
  const crl = optional(folder, 'ca-crl.pem');
  const isServer = endpoint === 'server';
  const cert = isServer ? load(folder, 'server-cert.pem') : optional(folder, 'client-cert.pem');
  const key = cert === undefined ? undefined : load(folder, isServer ? 'server-key.pem' : 'client-key.pem');
  const common = { ca, ...(crl === undefined ? {} : { crl }), ...(cert === undefined ? {} : { cert, key }) };
  return {
    serverOptions: { ...common, requestCert: verifyPeer, rejectUnauthorized: false },
    clientOptions: (hostname) => ({
      ...common,
      rejectUnauthorized: verifyPeer,
      ...(hostname === undefined ? {} : { servername: /^[\d.:]+$/.test(hostname) ? '' : hostname }),
      // With a socket of its own, Node would check the name `localhost`.
      checkServerIdentity: (_, certificate) =>
        hostname === undefined ? undefined : checkServerIdentity(hostname, certificate),
    }),
    refusal(socket) {
      if (!verifyPeer || socket.authorized) return undefined;
      return `the client's certificate was not accepted: ${String(socket.authorizationError ?? 'it has none')}`;
    },
  };
}

/** GnuTLS and OpenSSL both have these with pre-shared keys, up to TLS 1.2. */
const PSK_CIPHERS =
  'DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256:@SECLEVEL=0';
const PSK_TLS = { ciphers: PSK_CIPHERS, maxVersion: 'TLSv1.2' } as const;

/** `keys.psk` has a line `USER:HEX` for each user. */
function pskCredentials({ folder, endpoint, username = 'qemu' }: TlsFiles): TlsCredentials {
  const rows = load(folder, 'keys.psk')
    .split('\n')
    .map((line) => /^([^:#]+):([0-9a-f]+)\s*$/i.exec(line))
    .filter((match) => match !== null);
  const keys = new Map(rows.map(([, user, hex]) => [user, Buffer.from(hex, 'hex')]));
  const own = keys.get(username);
  if (endpoint === 'client' && own === undefined) {
    throw new UserError(`${join(folder, 'keys.psk')}: it has no key of the user '${username}'`);
  }
  return {
    serverOptions: {
      ...PSK_TLS,
      pskCallback: (_, identity) => keys.get(identity) ?? null,
    },
    clientOptions: () => ({
      ...PSK_TLS,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ identity: username, psk: own! }),
    }),
    refusal: () => undefined,
  };
}
