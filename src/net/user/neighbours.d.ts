/** Who has which Ethernet address on the guest's side; frames wait a moment for an answer to ARP or a solicitation. */
import { type Timers } from '../timers.ts';
import { type IpAddress } from '../wire/ip-address.ts';
import type { MacAddress } from '../wire/mac.ts';
export type HeldFrame = (mac: MacAddress) => void;
export declare class Neighbours {
    #private;
    /** @param solicit asks the guest who has an address */
    constructor(timers: Timers, solicit: (address: IpAddress) => void);
    /** Someone on the guest's side used an address as its own. Both are copied. */
    learn(address: IpAddress, mac: MacAddress): void;
    macOf(address: IpAddress): MacAddress | undefined;
    /** Sends once the address is known; drops when nobody answers. */
    whenKnown(address: IpAddress, send: HeldFrame): void;
}
