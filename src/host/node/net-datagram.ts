/** Datagrams over Node's UDP sockets. */
import { createSocket, type Socket } from 'node:dgram';
import { UserError } from '../../base/index.ts';
import type { HostDatagramEvents, HostDatagramSocket, HostEndpoint, MulticastOptions } from '../../contract/index.ts';
import { cannotListen, failureOf } from './net-failure.ts';

/** What waits to be sent; beyond it the network drops, and so do we. */
const SEND_QUEUE_MAX_BYTES = 1024 * 1024;
const BUFFER_BYTES = 1024 * 1024;
/** Datagrams that wait for the socket to be connected. */
const WAITING_MAX = 64;

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
  const peer = peerOf(socket);
  return {
    endpoint: { kind: 'inet', address, port },
    send(bytes, to) {
      if (isClosed || to.kind === 'unix' || socket.getSendQueueSize() > SEND_QUEUE_MAX_BYTES) return;
      peer.whenSettled((connectedTo) => {
        if (isClosed) return;
        const sent = (error: Error | null) => {
          if (error && !isClosed) events.failed(failureOf(error));
        };
        if (connectedTo?.port === to.port && connectedTo.address === to.address) socket.send(bytes, sent);
        else socket.send(bytes, to.port, to.address, sent);
      });
    },
    connect(to) {
      if (!isClosed && to?.kind !== 'unix') peer.connect(to);
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      socket.close();
    },
  };
}

type InetEndpoint = HostEndpoint & { readonly kind: 'inet' };

/** Whom a socket is connected to; that takes a turn of the event loop, for which what is to be sent waits. */
function peerOf(socket: Socket) {
  let wanted: InetEndpoint | undefined;
  let connected: InetEndpoint | undefined;
  let isConnecting = false;
  let waiting: ((connectedTo: InetEndpoint | undefined) => void)[] = [];
  const settle = () => {
    if (isConnecting) return;
    if (connected !== undefined && connected !== wanted) {
      socket.disconnect();
      connected = undefined;
    }
    if (wanted !== connected) {
      const to = wanted!;
      isConnecting = true;
      socket.connect(to.port, to.address, (error?: Error) => {
        isConnecting = false;
        if (error === undefined) connected = to;
        else wanted = undefined;
        settle();
      });
      return;
    }
    const ready = waiting;
    waiting = [];
    for (const action of ready) action(connected);
  };
  return {
    connect(to: InetEndpoint | undefined) {
      wanted = to;
      settle();
    },
    whenSettled(action: (connectedTo: InetEndpoint | undefined) => void) {
      if (!isConnecting) action(connected);
      else if (waiting.length < WAITING_MAX) waiting.push(action);
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
