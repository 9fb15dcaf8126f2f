/** Addresses and ports of the network behind which something of the host answers (QEMU's guestfwd). */
import { UserError } from '../../base/index.ts';
import type { HostSockets } from '../../contract/index.ts';
import { type IpAddress, ipKey } from '../wire/ip-address.ts';
import type { UserNetConfig } from './config.ts';
import { type GuestForward, parseGuestForward } from './forward-text.ts';
import type { OpenStream } from './tcp-nat.ts';

/** A rule as text, or with a stream of the caller's own. */
export type GuestForwardRule = string | (Omit<GuestForward, 'target'> & { readonly open: OpenStream });

const RULES_MAX = 1024;

export class GuestForwards {
  readonly #config: UserNetConfig;
  readonly #sockets: HostSockets;
  readonly #rules = new Map<string, { readonly address: IpAddress; readonly open: OpenStream }>();

  constructor(config: UserNetConfig, sockets: HostSockets) {
    this.#config = config;
    this.#sockets = sockets;
  }

  /** Throws UserError. */
  add(rule: GuestForwardRule): void {
    const { address, port, open } = typeof rule === 'string' ? this.#parse(rule) : rule;
    const key = `${ipKey(address)}${port}`;
    if (this.#rules.size >= RULES_MAX && !this.#rules.has(key)) {
      throw new UserError(`there cannot be more than ${RULES_MAX} guest forwarding rules`);
    }
    this.#rules.set(key, { address, open });
  }

  remove(address: IpAddress, port: number): boolean {
    return this.#rules.delete(`${ipKey(address)}${port}`);
  }

  /** What answers there, if anything. */
  find(address: IpAddress, port: number): OpenStream | undefined {
    return this.#rules.get(`${ipKey(address)}${port}`)?.open;
  }

  /** Something answers at that address, at some port. */
  has(address: IpAddress): boolean {
    const key = ipKey(address);
    for (const rule of this.#rules.values()) if (ipKey(rule.address) === key) return true;
    return false;
  }

  #parse(text: string): { address: IpAddress; port: number; open: OpenStream } {
    const { address, port, target } = parseGuestForward(text, this.#config);
    if (target.kind !== 'command') return { address, port, open: (events) => this.#sockets.connect(target, events) };
    const { spawn } = this.#sockets;
    if (spawn === undefined) throw new UserError(`guestfwd=${text}: this host cannot run programs`);
    return { address, port, open: (events) => spawn(target.command, events) };
  }
}
