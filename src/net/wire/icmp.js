/** ICMP (RFC 792) and the ICMPv6 messages that match it (RFC 4443). */
import { put16, put32 } from './bytes.js';
import { checksum, pseudoHeaderSum } from './checksum.js';
import { PROTOCOL } from './ip.js';
const HEADER_BYTES = 4;
const BODY_MIN_BYTES = 4;
export const ICMP_ECHO = { request: 8, reply: 0 };
export const ICMPV6_ECHO = { request: 128, reply: 129 };
const UNREACHABLE = { ipv4: 3, ipv6: 1 };
const UNREACHABLE_CODE = {
    ipv4: { network: 0, host: 1, port: 3, prohibited: 13 },
    ipv6: { network: 0, host: 3, port: 4, prohibited: 1 },
};
const TIME_EXCEEDED = { ipv4: 11, ipv6: 3 };
/** An error is at most 576 bytes in IPv4 (RFC 1812, 4.3.2.3) and 1280 in IPv6 (RFC 4443, 3.1). */
const QUOTE_MAX_BYTES = { ipv4: 576 - 28, ipv6: 1280 - 48 };
export function parseIcmp(bytes, source, destination) {
    if (bytes.length < HEADER_BYTES + BODY_MIN_BYTES)
        return undefined;
    if (checksum(bytes, 0, bytes.length, pseudoSum(bytes.length, source, destination)) !== 0)
        return undefined;
    return { type: bytes[0], code: bytes[1], body: bytes.subarray(HEADER_BYTES) };
}
export function buildIcmp(message, source, destination) {
    const bytes = new Uint8Array(HEADER_BYTES + message.body.length);
    bytes[0] = message.type;
    bytes[1] = message.code;
    bytes.set(message.body, HEADER_BYTES);
    put16(bytes, 2, checksum(bytes, 0, bytes.length, pseudoSum(bytes.length, source, destination)));
    return bytes;
}
/** ICMP has no pseudo-header in IPv4. */
function pseudoSum(length, source, destination) {
    return source.length === 4 ? 0 : pseudoHeaderSum(source, destination, PROTOCOL.icmpv6, length);
}
export function icmpProtocol(address) {
    return address.length === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6;
}
/** The answer to an echo request, or undefined when the message is none. */
export function echoReply({ type, code, body }, version) {
    const echo = version === 4 ? ICMP_ECHO : ICMPV6_ECHO;
    return type === echo.request && code === 0 ? { type: echo.reply, code: 0, body } : undefined;
}
/** The error about a packet that cannot be delivered; undefined for packets that must not be answered with one. */
export function unreachable(packet, reason) {
    const version = packet.source.length === 4 ? 'ipv4' : 'ipv6';
    return errorAbout(packet, UNREACHABLE[version], UNREACHABLE_CODE[version][reason]);
}
/** The hop limit ran out on the way (RFC 792, code 0). */
export function timeExceeded(packet) {
    return errorAbout(packet, TIME_EXCEEDED[packet.source.length === 4 ? 'ipv4' : 'ipv6'], 0);
}
/** No error about an error, nor about a later fragment (RFC 1122, 3.2.2; RFC 4443, 2.4). */
function errorAbout(packet, type, code) {
    if ((packet.fragment?.offsetBytes ?? 0) > 0 || isIcmpError(packet))
        return undefined;
    const quote = packet.bytes.subarray(0, QUOTE_MAX_BYTES[packet.source.length === 4 ? 'ipv4' : 'ipv6']);
    const body = new Uint8Array(4 + quote.length);
    put32(body, 0, 0);
    body.set(quote, 4);
    return { type, code, body };
}
function isIcmpError({ protocol, payload }) {
    if (protocol === PROTOCOL.icmpv6)
        return payload.length === 0 || payload[0] < 128;
    return protocol === PROTOCOL.icmp && (payload.length === 0 || ![ICMP_ECHO.request, 13, 15, 17].includes(payload[0]));
}
