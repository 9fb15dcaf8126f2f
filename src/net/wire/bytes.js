/** Network byte order (big-endian) in byte arrays, and ASCII text. Bounds are the caller's to check. */
export function get16(bytes, offset) {
    return (bytes[offset] << 8) | bytes[offset + 1];
}
export function get32(bytes, offset) {
    return ((bytes[offset] << 24) | (bytes[offset + 1] << 16) | (bytes[offset + 2] << 8) | bytes[offset + 3]) >>> 0;
}
export function put16(bytes, offset, value) {
    bytes[offset] = value >> 8;
    bytes[offset + 1] = value;
}
export function put32(bytes, offset, value) {
    bytes[offset] = value >>> 24;
    bytes[offset + 1] = value >>> 16;
    bytes[offset + 2] = value >>> 8;
    bytes[offset + 3] = value;
}
export function concat(parts) {
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of parts) {
        whole.set(part, offset);
        offset += part.length;
    }
    return whole;
}
export function equalBytes(a, b) {
    if (a.length !== b.length)
        return false;
    for (let i = 0; i < a.length; i++)
        if (a[i] !== b[i])
            return false;
    return true;
}
/** One byte a character; characters above 0xff become `?`. */
export function latin1(text) {
    return Uint8Array.from(text, (character) => (character.charCodeAt(0) > 0xff ? 0x3f : character.charCodeAt(0)));
}
export function latin1Text(bytes) {
    let text = '';
    for (const byte of bytes)
        text += String.fromCharCode(byte);
    return text;
}
