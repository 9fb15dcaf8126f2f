/** Ethernet addresses: six bytes. */
export type MacAddress = Uint8Array;
export declare const BROADCAST_MAC: MacAddress;
/** The address of `52:54:00:12:34:56`, or undefined when the text is none. */
export declare function parseMac(text: string): MacAddress | undefined;
export declare function macText(address: MacAddress): string;
/** Broadcast or multicast: goes to more than one. */
export declare function isGroupMac(address: MacAddress): boolean;
