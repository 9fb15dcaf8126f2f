/** Who has which Ethernet address on the guest's side; frames wait a moment for an answer to ARP or a solicitation. */
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import { type IpAddress, ipKey } from '../wire/ip-address.ts';
import type { MacAddress } from '../wire/mac.ts';

const NEIGHBOURS_MAX = 256;
const ADDRESSES_WAITED_FOR_MAX = 32;
const FRAMES_HELD_MAX = 8;
const WAIT_NANOS = 3 * SECOND_NANOS;

export type HeldFrame = (mac: MacAddress) => void;

export class Neighbours {
  readonly #known = new Map<string, MacAddress>();
  readonly #held = new Map<string, { readonly frames: HeldFrame[]; readonly timer: StackTimer }>();
  readonly #timers: Timers;
  readonly #solicit: (address: IpAddress) => void;

  /** @param solicit asks the guest who has an address */
  constructor(timers: Timers, solicit: (address: IpAddress) => void) {
    this.#timers = timers;
    this.#solicit = solicit;
  }

  /** Someone on the guest's side used an address as its own. Both are copied. */
  learn(address: IpAddress, mac: MacAddress): void {
    const key = ipKey(address);
    const known = this.#known.get(key);
    if (known !== undefined) {
      for (let i = 0; i < 6; i++) known[i] = mac[i];
      return;
    }
    if (this.#known.size >= NEIGHBOURS_MAX) this.#known.delete(this.#known.keys().next().value!);
    const copy = copyOf(mac);
    this.#known.set(key, copy);
    const held = this.#held.get(key);
    if (held === undefined) return;
    this.#held.delete(key);
    held.timer.stop();
    for (const frame of held.frames) frame(copy);
  }

  macOf(address: IpAddress): MacAddress | undefined {
    return this.#known.get(ipKey(address));
  }

  /** Sends once the address is known; drops when nobody answers. */
  whenKnown(address: IpAddress, send: HeldFrame): void {
    const mac = this.macOf(address);
    if (mac !== undefined) {
      send(mac);
      return;
    }
    const key = ipKey(address);
    const held = this.#held.get(key);
    if (held !== undefined) {
      if (held.frames.length < FRAMES_HELD_MAX) held.frames.push(send);
    } else if (this.#held.size < ADDRESSES_WAITED_FOR_MAX) {
      const timer = this.#timers.create(() => this.#held.delete(key));
      this.#held.set(key, { frames: [send], timer });
      timer.start(WAIT_NANOS);
    }
    this.#solicit(address);
  }
}
