import type { IpAddress } from './ip-address.ts';
export declare const UDP_HEADER_BYTES = 8;
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
export declare function parseUdp(bytes: Uint8Array, context: TransportContext): UdpDatagram | undefined;
export declare function buildUdp(datagram: UdpDatagram, { source, destination }: TransportContext): Uint8Array;
