/** Ethernet addresses: six bytes. */
export const BROADCAST_MAC = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
/** The address of `52:54:00:12:34:56`, or undefined when the text is none. */
export function parseMac(text) {
    if (!/^[0-9a-f]{1,2}([:-][0-9a-f]{1,2}){5}$/i.test(text))
        return undefined;
    return Uint8Array.from(text.split(/[:-]/), (part) => Number.parseInt(part, 16));
}
export function macText(address) {
    return Array.from(address, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
/** Broadcast or multicast: goes to more than one. */
export function isGroupMac(address) {
    return (address[0] & 1) !== 0;
}
