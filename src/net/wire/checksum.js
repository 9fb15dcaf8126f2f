/** The internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words. */
import { get16 } from './bytes.js';
const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
/** Below this, making a view costs more than it saves. */
const VIEW_MIN_BYTES = 128;
/**
 * The one's complement sum, folded to 16 bits, not complemented.
 * @param from An even number of bytes into what is summed.
 */
export function onesSum(bytes, from = 0, to = bytes.length, initial = 0) {
    let sum = initial;
    let at = from;
    if (to - from >= VIEW_MIN_BYTES && (bytes.byteOffset + from) % 2 === 0) {
        const wordCount = (to - from) >> 1;
        sum += sumOfView(new Uint16Array(bytes.buffer, bytes.byteOffset + from, wordCount));
        at += wordCount * 2;
    }
    for (; at + 1 < to; at += 2)
        sum += (bytes[at] << 8) | bytes[at + 1];
    if (at < to)
        sum += bytes[at] << 8;
    return fold(sum);
}
/** RFC 1071, 2 (B): the sum of byte-swapped words is the byte-swapped sum. */
function sumOfView(words) {
    let sum = 0;
    let i = 0;
    // A frame is at most 2^16 words: the sum stays below 2^32.
    for (; i + 4 <= words.length; i += 4)
        sum += words[i] + words[i + 1] + words[i + 2] + words[i + 3];
    for (; i < words.length; i++)
        sum += words[i];
    const folded = fold(sum);
    return littleEndian ? ((folded & 0xff) << 8) | (folded >> 8) : folded;
}
function fold(sum) {
    let folded = sum;
    while (folded > 0xffff)
        folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
    return folded;
}
export function checksum(bytes, from = 0, to = bytes.length, initial = 0) {
    return ~onesSum(bytes, from, to, initial) & 0xffff;
}
/** The sum over the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1); both versions sum to the same form. */
export function pseudoHeaderSum(source, destination, protocol, lengthBytes) {
    let sum = protocol + (lengthBytes & 0xffff) + (lengthBytes >>> 16);
    for (let i = 0; i < source.length; i += 2)
        sum += get16(source, i) + get16(destination, i);
    return fold(sum);
}
