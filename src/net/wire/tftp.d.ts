export declare const TFTP_PORT = 69;
export declare const TFTP_ERROR: {
    readonly undefined: 0;
    readonly notFound: 1;
    readonly illegal: 4;
    readonly unknownTransfer: 5;
};
export type TftpRequest = {
    readonly kind: 'read';
    readonly path: string;
    readonly mode: string;
    readonly options: ReadonlyMap<string, string>;
} | {
    readonly kind: 'write';
} | {
    readonly kind: 'acknowledge';
    readonly block: number;
} | {
    readonly kind: 'error';
};
/** What a server gets; undefined when malformed. */
export declare function parseTftp(bytes: Uint8Array): TftpRequest | undefined;
export declare function tftpData(block: number, data: Uint8Array): Uint8Array;
export declare function tftpOptionAck(options: readonly (readonly [string, number])[]): Uint8Array;
export declare function tftpError(code: number, message: string): Uint8Array;
