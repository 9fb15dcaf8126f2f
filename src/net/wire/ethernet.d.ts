import type { MacAddress } from './mac.ts';
export declare const ETHERNET_HEADER_BYTES = 14;
export declare const ETHER_TYPE: {
    readonly ipv4: 2048;
    readonly arp: 2054;
    readonly vlan: 33024;
    readonly ipv6: 34525;
};
export interface EthernetFrame {
    readonly destination: MacAddress;
    readonly source: MacAddress;
    /** 0x0600 or more. */
    readonly type: number;
    /** With what pads the frame to 60 bytes; the payload's own header knows its length. */
    readonly payload: Uint8Array;
}
/** Undefined when it is too short or not Ethernet II. The parts are views of `bytes`. */
export declare function parseEthernet(bytes: Uint8Array): EthernetFrame | undefined;
/** Writes the header into the first 14 bytes. */
export declare function putEthernet(target: Uint8Array, destination: MacAddress, source: MacAddress, type: number): void;
export declare function buildEthernet({ destination, source, type, payload }: EthernetFrame): Uint8Array;
