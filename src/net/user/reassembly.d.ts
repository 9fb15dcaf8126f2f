/** Puts fragments of IP packets together again (RFC 791, 3.2; RFC 8200, 4.5), within limits. */
import type { Timers } from '../timers.ts';
import type { IpPacket } from '../wire/ip.ts';
export declare class Reassembly {
    #private;
    constructor(timers: Timers);
    /** Packets that wait for the rest. */
    get count(): number;
    /** The packet without change when it is whole, the whole one when this was the last part, else undefined. */
    add(packet: IpPacket): IpPacket | undefined;
}
