/** ARP for IPv4 over Ethernet (RFC 826). */
import { get16, put16 } from './bytes.js';
import { ETHER_TYPE } from './ethernet.js';
const BYTES = 28;
const HARDWARE_ETHERNET = 1;
const OPERATION = { request: 1, reply: 2 };
export function parseArp(bytes) {
    if (bytes.length < BYTES || get16(bytes, 0) !== HARDWARE_ETHERNET || get16(bytes, 2) !== ETHER_TYPE.ipv4) {
        return undefined;
    }
    const operation = get16(bytes, 6);
    if (bytes[4] !== 6 || bytes[5] !== 4 || (operation !== OPERATION.request && operation !== OPERATION.reply)) {
        return undefined;
    }
    return {
        operation: operation === OPERATION.request ? 'request' : 'reply',
        senderMac: bytes.subarray(8, 14),
        senderIp: bytes.subarray(14, 18),
        targetMac: bytes.subarray(18, 24),
        targetIp: bytes.subarray(24, 28),
    };
}
export function buildArp(packet) {
    const bytes = new Uint8Array(BYTES);
    put16(bytes, 0, HARDWARE_ETHERNET);
    put16(bytes, 2, ETHER_TYPE.ipv4);
    bytes[4] = 6;
    bytes[5] = 4;
    put16(bytes, 6, OPERATION[packet.operation]);
    bytes.set(packet.senderMac, 8);
    bytes.set(packet.senderIp, 14);
    bytes.set(packet.targetMac, 18);
    bytes.set(packet.targetIp, 24);
    return bytes;
}
