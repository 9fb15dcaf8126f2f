/** A link to other processes over datagrams, one frame each (QEMU's `-netdev dgram` and `socket,udp=`/`mcast=`). */
import { UserError } from '../../base/index.ts';
import type { HostEndpoint, HostSockets, MulticastOptions } from '../../contract/index.ts';
import { copyOf } from '../wire/bytes.ts';
import { isMulticast, parseIp } from '../wire/ip-address.ts';
import { FrameQueue, NO_OFFLOADS } from './frame-queue.ts';
import type { OutsideLink } from './stream-link.ts';

export interface DatagramLinkOptions {
  /** Where frames go: a peer, or a multicast group that all who join it hear. */
  readonly remote: HostEndpoint & { kind: 'inet' };
  /** Where we are bound; for a group, only its address counts: that of the interface. */
  readonly local?: HostEndpoint & { kind: 'inet' };
}

/** UDP over IPv4: 65,535 less the headers. */
const FRAME_MAX_BYTES = 65_507;

/** Rejects with UserError when the address cannot be had. */
export async function openDatagramLink(options: DatagramLinkOptions, sockets: HostSockets): Promise<OutsideLink> {
  const { remote, local } = options;
  const frames = new FrameQueue();
  const remoteAddress = parseIp(remote.address);
  if (remoteAddress === undefined) throw new UserError(`network: ${remote.address} is not an IP address`);
  const isGroup = isMulticast(remoteAddress);
  if (!isGroup && local === undefined) throw new UserError('network: datagrams to one peer need a local address');
  const multicast: MulticastOptions | undefined = isGroup
    ? { group: remote.address, localAddress: local?.address }
    : undefined;
  const at: HostEndpoint = isGroup ? remote : local!;
  const events = {
    message: (bytes: Uint8Array, from: HostEndpoint | undefined) => {
      const isPeer = from?.kind === 'inet' && from.address === remote.address && from.port === remote.port;
      if (isGroup || isPeer) frames.send(bytes);
    },
    failed: () => {}, // the peer is not there yet, or not any more
  };
  const socket = await sockets.openDatagram(at, events, multicast);
  return {
    takes: NO_OFFLOADS,
    endpoint: socket.endpoint,
    send(frame) {
      if (frame.length <= FRAME_MAX_BYTES) socket.send(copyOf(frame), remote);
    },
    connect: (receiver) => frames.connect(receiver),
    resume: () => frames.resume(),
    close: () => socket.close(),
  };
}
