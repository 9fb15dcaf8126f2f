/** UDP (RFC 768; RFC 8200, 8.1). */
import { get16, put16 } from './bytes.js';
import { checksum, pseudoHeaderSum } from './checksum.js';
import { PROTOCOL } from './ip.js';
export const UDP_HEADER_BYTES = 8;
export function parseUdp(bytes, context) {
    if (bytes.length < UDP_HEADER_BYTES)
        return undefined;
    const length = get16(bytes, 4);
    if (length < UDP_HEADER_BYTES || length > bytes.length)
        return undefined;
    const [sourcePort, destinationPort] = [get16(bytes, 0), get16(bytes, 2)];
    if (destinationPort === 0)
        return undefined;
    const { source, destination, trustChecksum } = context;
    if (trustChecksum !== true) {
        const hasNone = get16(bytes, 6) === 0;
        if (hasNone && source.length === 16)
            return undefined;
        const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.udp, length);
        if (!hasNone && checksum(bytes, 0, length, pseudo) !== 0)
            return undefined;
    }
    return { sourcePort, destinationPort, payload: bytes.subarray(UDP_HEADER_BYTES, length) };
}
export function buildUdp(datagram, { source, destination }) {
    const bytes = new Uint8Array(UDP_HEADER_BYTES + datagram.payload.length);
    put16(bytes, 0, datagram.sourcePort);
    put16(bytes, 2, datagram.destinationPort);
    put16(bytes, 4, bytes.length);
    bytes.set(datagram.payload, UDP_HEADER_BYTES);
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.udp, bytes.length);
    put16(bytes, 6, checksum(bytes, 0, bytes.length, pseudo) || 0xffff);
    return bytes;
}
