/** Servers of stream sockets that begin to listen, whatever they do with their connections. */
import type { Server } from 'node:net';
import type { HostEndpoint, HostListener } from '../../contract/index.ts';
import { cannotListen } from './net-failure.ts';

/** @throws UserError that names the place when it cannot be had */
export function listenOn(server: Server, at: HostEndpoint): Promise<HostListener> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => reject(cannotListen(at, error));
    server.once('error', failed);
    server.listen(at.kind === 'unix' ? { path: at.path } : { host: at.address, port: at.port }, () => {
      server.off('error', failed);
      server.on('error', () => {}); // one connection could not be accepted; the next may
      const address = server.address();
      const endpoint: HostEndpoint =
        typeof address === 'object' && address !== null
          ? { kind: 'inet', address: address.address, port: address.port }
          : at;
      resolve({ endpoint, close: () => server.close() });
    });
  });
}
