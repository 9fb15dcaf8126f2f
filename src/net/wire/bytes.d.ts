/** Network byte order (big-endian) in byte arrays, and ASCII text. Bounds are the caller's to check. */
export declare function get16(bytes: Uint8Array, offset: number): number;
export declare function get32(bytes: Uint8Array, offset: number): number;
export declare function put16(bytes: Uint8Array, offset: number, value: number): void;
export declare function put32(bytes: Uint8Array, offset: number, value: number): void;
export declare function concat(parts: readonly Uint8Array[]): Uint8Array;
export declare function equalBytes(a: Uint8Array, b: Uint8Array): boolean;
/** One byte a character; characters above 0xff become `?`. */
export declare function latin1(text: string): Uint8Array;
export declare function latin1Text(bytes: Uint8Array): string;
