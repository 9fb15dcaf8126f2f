import type { IpAddress } from './ip-address.ts';
export declare const DNS_PORT = 53;
export declare const DNS_TYPE: {
    readonly a: 1;
    readonly ptr: 12;
    readonly aaaa: 28;
};
export declare const DNS_RCODE: {
    readonly noError: 0;
    readonly formatError: 1;
    readonly serverFailure: 2;
    readonly nameError: 3;
    readonly refused: 5;
};
export interface DnsQuestion {
    /** Lower case, without the dot at the end; '' is the root. Bytes that are no ASCII letter, digit, - or _ are escaped as `\ddd`. */
    readonly name: string;
    readonly type: number;
    /** Where the question section ends in the message. */
    readonly endOffset: number;
}
export interface DnsAddress {
    readonly address: IpAddress;
    readonly ttlSeconds: number;
}
/** The one question of a query in class IN; undefined for anything else, as no forwarder gets anything else in practice. */
export declare function parseDnsQuery(bytes: Uint8Array): DnsQuestion | undefined;
export declare function isDnsResponse(bytes: Uint8Array): boolean;
/** True when a response repeats the question of `query` (RFC 5452, 9.1). Errors may leave it out. */
export declare function answersQuestion(response: Uint8Array, question: DnsQuestion): boolean;
/** The addresses in a response's answer section; fewer when it is malformed. */
export declare function dnsAddresses(response: Uint8Array): DnsAddress[];
/** An answer made here: header, the query's question, and addresses of its type. */
export declare function buildDnsAnswer(query: Uint8Array, question: DnsQuestion, rcode: number, addresses?: readonly DnsAddress[]): Uint8Array;
/** A name in wire form; undefined when it is none. */
export declare function encodeDnsName(name: string): Uint8Array | undefined;
