/** Datagrams over Node's UDP sockets. */
import { createSocket, type Socket } from 'node:dgram';
import { UserError } from '../../base/index.ts';
import type { HostDatagramEvents, HostDatagramSocket, HostEndpoint, MulticastOptions } from '../../contract/index.ts';
import { cannotListen, failureOf } from './net-failure.ts';

/** What waits to be sent; beyond it the network drops, and so do we. */
const SEND_QUEUE_MAX_BYTES = 1024 * 1024;
const BUFFER_BYTES = 1024 * 1024;

export async function openDatagramSocket(
  at: HostEndpoint,
  events: HostDatagramEvents,
  multicast?: MulticastOptions,
): Promise<HostDatagramSocket> {
  if (at.kind === 'unix') throw new UserError(`${at.path}: Node has no unix datagram sockets; use an inet address`);
  const isIpv6 = at.address.includes(':');
  const reuseAddr = multicast !== undefined;
  const socket = createSocket({ type: isIpv6 ? 'udp6' : 'udp4', ipv6Only: isIpv6, reuseAddr });
  await bind(socket, at, multicast);
  let isClosed = false;
  socket.on('message', (bytes, { address, port }) => {
    if (!isClosed)
      events.message(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length), { kind: 'inet', address, port });
  });
  socket.on('error', (error) => {
    if (!isClosed) events.failed(failureOf(error));
  });
  const { address, port } = socket.address();
  return {
    endpoint: { kind: 'inet', address, port },
    send(bytes, to) {
      if (isClosed || to.kind === 'unix' || socket.getSendQueueSize() > SEND_QUEUE_MAX_BYTES) return;
      socket.send(bytes, to.port, to.address, (error) => {
        if (error && !isClosed) events.failed(failureOf(error));
      });
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      socket.close();
    },
  };
}

function bind(socket: Socket, at: HostEndpoint & { kind: 'inet' }, multicast: MulticastOptions | undefined) {
  return new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      socket.close();
      reject(cannotListen(at, error));
    };
    socket.once('error', failed);
    socket.bind(at.port, at.address, () => {
      socket.off('error', failed);
      try {
        socket.setRecvBufferSize(BUFFER_BYTES);
        if (multicast !== undefined) {
          const { group, localAddress } = multicast;
          socket.addMembership(group, localAddress);
          socket.setMulticastLoopback(true);
          if (localAddress !== undefined) socket.setMulticastInterface(localAddress);
        }
        resolve();
      } catch (error) {
        failed(error as NodeJS.ErrnoException);
      }
    });
  });
}
