/** The socket joint over Node's own sockets. */
import type { HostSockets } from '../../contract/index.ts';
import { openDatagramSocket } from './net-datagram.ts';
import { connectStream, listenStream, spawnStream } from './net-stream.ts';

export const nodeSockets: HostSockets = {
  connect: connectStream,
  listen: listenStream,
  openDatagram: openDatagramSocket,
  spawn: spawnStream,
};
