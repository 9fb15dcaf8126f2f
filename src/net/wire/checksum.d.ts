/**
 * The one's complement sum, folded to 16 bits, not complemented.
 * @param from An even number of bytes into what is summed.
 */
export declare function onesSum(bytes: Uint8Array, from?: number, to?: number, initial?: number): number;
export declare function checksum(bytes: Uint8Array, from?: number, to?: number, initial?: number): number;
/** The sum over the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1); both versions sum to the same form. */
export declare function pseudoHeaderSum(source: Uint8Array, destination: Uint8Array, protocol: number, lengthBytes: number): number;
