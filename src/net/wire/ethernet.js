/** Ethernet II frames (IEEE 802.3, 3.2) and 802.1Q tags. */
import { get16, put16 } from './bytes.js';
export const ETHERNET_HEADER_BYTES = 14;
export const ETHER_TYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd };
/** Undefined when it is too short or not Ethernet II. The parts are views of `bytes`. */
export function parseEthernet(bytes) {
    if (bytes.length < ETHERNET_HEADER_BYTES)
        return undefined;
    const type = get16(bytes, 12);
    if (type < 0x0600)
        return undefined;
    return {
        destination: bytes.subarray(0, 6),
        source: bytes.subarray(6, 12),
        type,
        payload: bytes.subarray(ETHERNET_HEADER_BYTES),
    };
}
/** Writes the header into the first 14 bytes. */
export function putEthernet(target, destination, source, type) {
    target.set(destination, 0);
    target.set(source, 6);
    put16(target, 12, type);
}
export function buildEthernet({ destination, source, type, payload }) {
    const bytes = new Uint8Array(ETHERNET_HEADER_BYTES + payload.length);
    putEthernet(bytes, destination, source, type);
    bytes.set(payload, ETHERNET_HEADER_BYTES);
    return bytes;
}
