/** Connections of Node's sockets as byte streams that are read at their user's pace, with TLS where there are credentials. */
import { lstatSync, rmSync } from 'node:fs';
import { createServer, connect as nodeConnect, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { IoError, UserError } from '../../base/index.ts';
import type { ByteStream, HostEndpoint, HostListener } from '../../contract/index.ts';
import { listenOn } from './listen.ts';
import type { TlsCredentials } from './nbd-tls.ts';
import { endpointText } from './net-failure.ts';

/** Bytes that wait to be read, at most about this many, before the peer is stopped. */
const UNREAD_BYTES_MAX = 4 * 2 ** 20;

export interface StreamOptions {
  readonly tls?: TlsCredentials;
  /** The name that a TLS server's certificate must have. */
  readonly hostname?: string;
}

/** Connects. Rejects with a `UserError` that names the endpoint. */
export function connectByteStream(to: HostEndpoint, options: StreamOptions = {}): Promise<ByteStream> {
  const target = to.kind === 'unix' ? { path: to.path } : { host: to.address, port: to.port };
  return new Promise((resolve, reject) => {
    const socket = nodeConnect({ ...target, noDelay: true });
    const failed = (error: NodeJS.ErrnoException) => {
      reject(new UserError(`Failed to connect to '${endpointText(to)}': ${reasonOf(error)}`));
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.off('error', failed);
      const hostname = options.hostname ?? (to.kind === 'inet' ? to.address : undefined);
      resolve(byteStream(socket, 'client', { ...options, ...(hostname === undefined ? {} : { hostname }) }));
    });
  });
}

/** Listens; a socket's file that a killed process left is replaced. Rejects with a `UserError` that names the endpoint. */
export async function listenByteStreams(
  at: HostEndpoint,
  accept: (stream: ByteStream) => void,
  options: StreamOptions = {},
): Promise<HostListener> {
  if (at.kind === 'unix' && lstatSync(at.path, { throwIfNoEntry: false })?.isSocket() && !(await answers(at.path))) {
    rmSync(at.path, { force: true });
  }
  const server = createServer({ noDelay: true }, (socket) => accept(byteStream(socket, 'server', options)));
  return listenOn(server, at);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = nodeConnect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Somebody is there as well when he is busy, or is nobody that we may talk to.
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Connection refused',
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  ENOTFOUND: 'Name or service not known',
  ETIMEDOUT: 'Connection timed out',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
};

function reasonOf(error: NodeJS.ErrnoException): string {
  return REASONS[error.code ?? ''] ?? error.message;
}

/** Of a socket that is connected. */
export function byteStreamOf(socket: Socket): ByteStream {
  return byteStream(socket, 'client', {});
}

function byteStream(socket: Socket, role: 'server' | 'client', options: StreamOptions): ByteStream {
  const unread: Uint8Array[] = [];
  let unreadBytes = 0;
  let isEnded = false;
  let failure: Error | undefined;
  let wakeReader: (() => void) | undefined;
  let wakeWriter: (() => void) | undefined;
  const wake = () => {
    wakeReader?.();
    wakeWriter?.();
  };
  const onData = ({ buffer, byteOffset, length }: Buffer) => {
    // Not a Buffer, whose `slice` is no copy.
    unread.push(new Uint8Array(buffer, byteOffset, length));
    unreadBytes += length;
    if (unreadBytes > UNREAD_BYTES_MAX) socket.pause();
    wakeReader?.();
  };
  const onEnd = () => {
    isEnded = true;
    wake();
  };
  const onError = (error: Error) => {
    failure ??= error;
  };
  const listeners = { data: onData, end: onEnd, error: onError, close: onEnd, drain: () => wakeWriter?.() };
  for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener);
  const lost = () =>
    new IoError('io', `the connection broke: ${failure === undefined ? 'it was closed' : reasonOf(failure)}`);
  const stream: ByteStream = {
    async read() {
      while (unread.length === 0 && !isEnded) {
        await new Promise<void>((resolve) => {
          wakeReader = resolve;
        });
      }
      wakeReader = undefined;
      const chunk = unread.shift();
      if (chunk === undefined) {
        if (failure !== undefined) throw lost();
        return undefined;
      }
      unreadBytes -= chunk.length;
      if (unreadBytes <= UNREAD_BYTES_MAX / 2 && socket.isPaused()) socket.resume();
      return chunk;
    },
    async write(parts) {
      if (socket.destroyed || failure !== undefined || !socket.writable) throw lost();
      socket.cork();
      let hasRoom = true;
      for (const part of parts) if (part.length > 0) hasRoom = socket.write(part);
      socket.uncork();
      while (!hasRoom && socket.writableNeedDrain && !socket.destroyed) {
        await new Promise<void>((resolve) => {
          wakeWriter = resolve;
        });
      }
      if (socket.destroyed && !hasRoom) throw lost();
    },
    end: () => {
      socket.end(() => socket.destroy());
    },
    destroy: () => socket.destroy(),
  };
  const { tls } = options;
  if (tls !== undefined) {
    stream.startTls = async () => {
      for (const [event, listener] of Object.entries(listeners)) socket.off(event, listener);
      return secureStream(socket, role, tls, options.hostname);
    };
  }
  return stream;
}

/** The TLS handshake on a connected socket. */
function secureStream(
  socket: Socket,
  role: 'server' | 'client',
  tls: TlsCredentials,
  hostname: string | undefined,
): Promise<ByteStream> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      socket.destroy();
      reject(new UserError(`TLS handshake failed: ${error.message}`));
    };
    const closed = () => failed(new Error('the peer closed the connection'));
    socket.once('close', closed);
    const done = (secured: TLSSocket) => {
      secured.off('error', failed);
      socket.off('close', closed);
      const refusal = role === 'server' ? tls.refusal(secured) : undefined;
      if (refusal === undefined) resolve(byteStream(secured, role, {}));
      else failed(new Error(refusal));
    };
    if (role === 'client') {
      const secured = tlsConnect({ socket, ...tls.clientOptions(hostname) });
      secured.once('error', failed);
      secured.once('secureConnect', () => done(secured));
      return;
    }
    const server = createTlsServer(tls.serverOptions);
    server.once('tlsClientError', failed);
    server.once('secureConnection', done);
    server.emit('connection', socket);
  });
}
