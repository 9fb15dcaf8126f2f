/** Packets of the socket device: VIRTIO 1.2, section 5.10.6. */
import { layout } from '../layout.ts';

/** struct virtio_vsock_hdr. */
export const PACKET = layout({
  sourceCid: 'u64',
  targetCid: 'u64',
  sourcePort: 'u32',
  targetPort: 'u32',
  length: 'u32',
  type: 'u16',
  operation: 'u16',
  flags: 'u32',
  bufferBytes: 'u32',
  forwardedBytes: 'u32',
});
export const PACKET_HEADER_BYTES = PACKET.length;

export const OPERATION = {
  request: 1,
  response: 2,
  reset: 3,
  shutdown: 4,
  data: 5,
  creditUpdate: 6,
  creditRequest: 7,
} as const;
export const STREAM_TYPE = 1;
/** Flags of a shutdown: the sender will not receive, will not send. */
export const SHUTDOWN = { receive: 1, send: 2, both: 3 } as const;
/** The host (5.10.4). */
export const HOST_CID = 2;

/** What a packet says beside where it goes and how much room its sender has. */
export interface Reply {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly operation: number;
  readonly flags?: number;
}
