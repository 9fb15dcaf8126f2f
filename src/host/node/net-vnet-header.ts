/** struct virtio_net_hdr (VIRTIO 1.2, 5.1.6; linux/virtio_net.h) as a tap device reads and writes it: ten bytes, little-endian. */
import type { UnfinishedFrame } from '../../contract/index.ts';

export const VNET_HEADER_BYTES = 10;
const NEEDS_CHECKSUM = 1;
const SEGMENTS = { none: 0, tcp4: 1, tcp6: 4 } as const;
/** Explicit congestion notification: how the segments are cut does not depend on it. */
const ECN = 0x80;

export function encodeVnetHeader(unfinished: UnfinishedFrame | undefined): Uint8Array {
  const bytes = new Uint8Array(VNET_HEADER_BYTES);
  if (unfinished === undefined) return bytes;
  const { checksumStart, checksumOffset, segments } = unfinished;
  const view = new DataView(bytes.buffer);
  bytes[0] = NEEDS_CHECKSUM;
  bytes[1] = SEGMENTS[segments?.kind ?? 'none'];
  view.setUint16(2, segments?.headerBytes ?? 0, true);
  view.setUint16(4, segments?.payloadBytes ?? 0, true);
  view.setUint16(6, checksumStart, true);
  view.setUint16(8, checksumOffset, true);
  return bytes;
}

/** What is left to do on the frame behind the header; undefined for nothing. */
export function decodeVnetHeader(bytes: Uint8Array): UnfinishedFrame | undefined {
  if ((bytes[0] & NEEDS_CHECKSUM) === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, VNET_HEADER_BYTES);
  const type = bytes[1] & ~ECN;
  const kind = type === SEGMENTS.tcp4 ? 'tcp4' : type === SEGMENTS.tcp6 ? 'tcp6' : undefined;
  const segments =
    kind === undefined
      ? undefined
      : ({ kind, headerBytes: view.getUint16(2, true), payloadBytes: view.getUint16(4, true) } as const);
  return { checksumStart: view.getUint16(6, true), checksumOffset: view.getUint16(8, true), segments };
}
