/** UDP (RFC 768; RFC 8200, 8.1). */
import { get16, put16 } from './bytes.ts';
import { checksum, pseudoHeaderSum } from './checksum.ts';
import { PROTOCOL } from './ip.ts';
import type { IpAddress } from './ip-address.ts';

export const UDP_HEADER_BYTES = 8;

export interface UdpDatagram {
  readonly sourcePort: number;
  /** Not 0. */
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

/** What the checks on a datagram or segment need from the packet around it. */
export interface TransportContext {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** The sender left the checksum to us, or we know the bytes did not travel. */
  readonly trustChecksum?: boolean;
}

export function parseUdp(bytes: Uint8Array, context: TransportContext): UdpDatagram | undefined {
  if (bytes.length < UDP_HEADER_BYTES) return undefined;
  const length = get16(bytes, 4);
  if (length < UDP_HEADER_BYTES || length > bytes.length) return undefined;
  const [sourcePort, destinationPort] = [get16(bytes, 0), get16(bytes, 2)];
  if (destinationPort === 0) return undefined;
  const { source, destination, trustChecksum } = context;
  if (trustChecksum !== true) {
    const hasNone = get16(bytes, 6) === 0;
    if (hasNone && source.length === 16) return undefined;
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.udp, length);
    if (!hasNone && checksum(bytes, 0, length, pseudo) !== 0) return undefined;
  }
  return { sourcePort, destinationPort, payload: bytes.subarray(UDP_HEADER_BYTES, length) };
}

export function buildUdp(datagram: UdpDatagram, { source, destination }: TransportContext): Uint8Array {
  const bytes = new Uint8Array(UDP_HEADER_BYTES + datagram.payload.length);
  put16(bytes, 0, datagram.sourcePort);
  put16(bytes, 2, datagram.destinationPort);
  put16(bytes, 4, bytes.length);
  bytes.set(datagram.payload, UDP_HEADER_BYTES);
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.udp, bytes.length);
  put16(bytes, 6, checksum(bytes, 0, bytes.length, pseudo) || 0xffff);
  return bytes;
}
