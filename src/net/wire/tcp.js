/** TCP segments (RFC 9293, 3.1; options of RFC 7323). */
import { get16, get32, put16, put32 } from './bytes.js';
import { checksum, pseudoHeaderSum } from './checksum.js';
import { PROTOCOL } from './ip.js';
export const TCP_HEADER_BYTES = 20;
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 };
const FLAGS_MASK = 0x1f;
const OPTION = { end: 0, noOperation: 1, mss: 2, windowScale: 3 };
/** RFC 7323, 2.3: a larger shift is taken as 14. */
const WINDOW_SCALE_MAX = 14;
const NO_OPTIONS = {};
export function parseTcp(bytes, context) {
    if (bytes.length < TCP_HEADER_BYTES)
        return undefined;
    const headerBytes = (bytes[12] >> 4) * 4;
    if (headerBytes < TCP_HEADER_BYTES || headerBytes > bytes.length)
        return undefined;
    const { source, destination, trustChecksum } = context;
    if (trustChecksum !== true) {
        const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.tcp, bytes.length);
        if (checksum(bytes, 0, bytes.length, pseudo) !== 0)
            return undefined;
    }
    return {
        sourcePort: get16(bytes, 0),
        destinationPort: get16(bytes, 2),
        sequence: get32(bytes, 4),
        acknowledgement: get32(bytes, 8),
        flags: bytes[13] & FLAGS_MASK,
        window: get16(bytes, 14),
        options: headerBytes === TCP_HEADER_BYTES ? NO_OPTIONS : parseOptions(bytes, headerBytes),
        payload: bytes.subarray(headerBytes),
    };
}
/** Options that are malformed end the list; the segment stands (RFC 9293, 3.1). */
function parseOptions(bytes, end) {
    const options = {};
    for (let at = TCP_HEADER_BYTES; at < end && bytes[at] !== OPTION.end;) {
        if (bytes[at] === OPTION.noOperation) {
            at++;
            continue;
        }
        const length = at + 1 < end ? bytes[at + 1] : 0;
        if (length < 2 || at + length > end)
            break;
        if (bytes[at] === OPTION.mss && length === 4 && get16(bytes, at + 2) > 0)
            options.mss = get16(bytes, at + 2);
        if (bytes[at] === OPTION.windowScale && length === 3) {
            options.windowScale = Math.min(bytes[at + 2], WINDOW_SCALE_MAX);
        }
        at += length;
    }
    return options;
}
export function tcpHeaderBytes({ mss, windowScale }) {
    return TCP_HEADER_BYTES + (mss === undefined ? 0 : 4) + (windowScale === undefined ? 0 : 4);
}
/** Writes the header and options, with checksum 0; the payload is what the caller puts behind them. */
export function putTcpHeader(target, offset, segment) {
    const { mss, windowScale } = segment.options;
    put16(target, offset, segment.sourcePort);
    put16(target, offset + 2, segment.destinationPort);
    put32(target, offset + 4, segment.sequence);
    put32(target, offset + 8, segment.acknowledgement);
    target[offset + 12] = (tcpHeaderBytes(segment.options) / 4) << 4;
    target[offset + 13] = segment.flags;
    put16(target, offset + 14, segment.window);
    put32(target, offset + 16, 0);
    let at = offset + TCP_HEADER_BYTES;
    if (mss !== undefined) {
        put32(target, at, (OPTION.mss << 24) | (4 << 16) | mss);
        at += 4;
    }
    if (windowScale !== undefined) {
        put32(target, at, (OPTION.noOperation << 24) | (OPTION.windowScale << 16) | (3 << 8) | windowScale);
    }
}
export function buildTcp(segment, { source, destination }) {
    const headerBytes = tcpHeaderBytes(segment.options);
    const bytes = new Uint8Array(headerBytes + segment.payload.length);
    putTcpHeader(bytes, 0, segment);
    bytes.set(segment.payload, headerBytes);
    put16(bytes, 16, checksum(bytes, 0, bytes.length, pseudoHeaderSum(source, destination, PROTOCOL.tcp, bytes.length)));
    return bytes;
}
/** Sequence numbers wrap at 2^32 (RFC 9293, 3.4). */
export function seqAdd(sequence, count) {
    return (sequence + count) >>> 0;
}
/** How far `a` is ahead of `b`: negative when behind. */
export function seqDistance(a, b) {
    return (a - b) | 0;
}
