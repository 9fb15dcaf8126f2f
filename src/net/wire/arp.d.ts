import type { IpAddress } from './ip-address.ts';
import type { MacAddress } from './mac.ts';
export interface ArpPacket {
    readonly operation: 'request' | 'reply';
    readonly senderMac: MacAddress;
    readonly senderIp: IpAddress;
    readonly targetMac: MacAddress;
    readonly targetIp: IpAddress;
}
export declare function parseArp(bytes: Uint8Array): ArpPacket | undefined;
export declare function buildArp(packet: ArpPacket): Uint8Array;
