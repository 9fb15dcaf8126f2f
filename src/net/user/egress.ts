/**
 * Where a guest may connect to: an ordered list of rules by address and by name.
 *
 * A rule by name works through the forwarder: whoever resolves an allowed name
 * may then reach the addresses it was given, until they expire. Names that the
 * rules do not allow are not resolved.
 */
import { UserError } from '../../base/index.ts';
import { SECOND_NANOS } from '../timers.ts';
import type { DnsAddress } from '../wire/dns.ts';
import { type Cidr, type IpAddress, ipKey, isInside, parseCidr } from '../wire/ip-address.ts';

export interface EgressRule {
  readonly action: 'allow' | 'deny';
  /** An address or net; exclusive with `name`. Neither: everything. */
  readonly cidr?: string;
  /** A domain name, or `*.example.org` for all names below it. */
  readonly name?: string;
  /** Default: both. */
  readonly protocol?: 'tcp' | 'udp';
  /** A port, or the first and last of a range. Default: all. */
  readonly port?: number | readonly [number, number];
}

export interface Destination {
  readonly address: IpAddress;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  /** An address of the virtual net: no name opens it, or whoever owns an allowed name could let the guest into the host. */
  readonly isVirtual?: boolean;
}

interface Rule {
  readonly isAllow: boolean;
  readonly cidr: Cidr | undefined;
  readonly name: string | undefined;
  readonly protocol: 'tcp' | 'udp' | undefined;
  readonly ports: readonly [number, number];
}

/** A name's address stays usable at least this long, so that a slow program still reaches it. */
const NAME_TIME_MIN_NANOS = 60 * SECOND_NANOS;
const NAME_TIME_MAX_NANOS = 3600 * SECOND_NANOS;
const LEARNED_MAX = 4096;

/** @throws UserError that names the rule */
export function parseEgress(rules: readonly EgressRule[], standard: 'allow' | 'deny'): Egress {
  return new Egress(
    rules.map((rule, i) => parseRule(rule, i)),
    standard === 'allow',
  );
}

function parseRule({ action, cidr, name, protocol, port }: EgressRule, index: number): Rule {
  const fault = (what: string) => new UserError(`network: egress rule ${index + 1}: ${what}`);
  if (action !== 'allow' && action !== 'deny') throw fault(`the action must be allow or deny, not ${action}`);
  if (cidr !== undefined && name !== undefined) throw fault('cidr and name exclude each other');
  const net = cidr === undefined ? undefined : parseCidr(cidr);
  if (cidr !== undefined && net === undefined) throw fault(`${cidr} is not an address or net, like 192.0.2.0/24`);
  if (name !== undefined && !/^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$/i.test(name)) {
    throw fault(`${name} is not a domain name`);
  }
  const ports = typeof port === 'number' ? ([port, port] as const) : (port ?? ([0, 65_535] as const));
  if (!ports.every((value) => Number.isInteger(value) && value >= 0 && value <= 65_535) || ports[0] > ports[1]) {
    throw fault(`the port must be a number up to 65535 or a range of two`);
  }
  const lowerName = name?.toLowerCase().replace(/\.$/, '');
  return { isAllow: action === 'allow', cidr: net, name: lowerName, protocol, ports };
}

export class Egress {
  readonly #rules: readonly Rule[];
  readonly #allowsByDefault: boolean;
  /** By address: the names it was given for, and until when that counts. */
  readonly #learned = new Map<string, Map<string, number>>();

  constructor(rules: readonly Rule[], allowsByDefault: boolean) {
    this.#rules = rules;
    this.#allowsByDefault = allowsByDefault;
  }

  /** Names matter: queries must pass through the forwarder to be seen. */
  get hasNames(): boolean {
    return this.#rules.some(({ name }) => name !== undefined);
  }

  allows({ address, port, protocol, isVirtual }: Destination, nowNanos: number): boolean {
    const names = isVirtual ? [] : this.#namesOf(address, nowNanos);
    for (const rule of this.#rules) {
      const isSame = (rule.protocol ?? protocol) === protocol && port >= rule.ports[0] && port <= rule.ports[1];
      if (isSame && matchesAddress(rule, address, names)) return rule.isAllow;
    }
    return this.#allowsByDefault;
  }

  /**
   * Whether a name may be asked for. Without rules by name all may, or a guest
   * that is allowed an address could not find it.
   */
  allowsName(name: string): boolean {
    if (!this.hasNames) return true;
    for (const rule of this.#rules) {
      const isForName = rule.name === undefined ? rule.cidr === undefined : matchesName(rule.name, name);
      if (isForName) return rule.isAllow;
    }
    return this.#allowsByDefault;
  }

  /** A name was resolved for the guest. */
  learn(name: string, addresses: readonly DnsAddress[], nowNanos: number): void {
    if (!this.hasNames) return;
    for (const { address, ttlSeconds } of addresses) {
      const key = ipKey(address);
      const names = this.#learned.get(key) ?? new Map<string, number>();
      this.#learned.delete(key); // the one that was learned longest ago is first
      this.#learned.set(key, names);
      const timeNanos = Math.min(NAME_TIME_MAX_NANOS, Math.max(NAME_TIME_MIN_NANOS, ttlSeconds * SECOND_NANOS));
      if (names.size < 64 || names.has(name)) names.set(name, nowNanos + timeNanos);
    }
    while (this.#learned.size > LEARNED_MAX) this.#learned.delete(this.#learned.keys().next().value!);
  }

  #namesOf(address: IpAddress, nowNanos: number): readonly string[] {
    const names = this.#learned.size === 0 ? undefined : this.#learned.get(ipKey(address));
    return names === undefined
      ? []
      : [...names].filter(([, untilNanos]) => untilNanos > nowNanos).map(([name]) => name);
  }
}

function matchesAddress(rule: Rule, address: IpAddress, names: readonly string[]): boolean {
  if (rule.cidr !== undefined) return isInside(rule.cidr, address);
  return rule.name === undefined || names.some((name) => matchesName(rule.name!, name));
}

function matchesName(pattern: string, name: string): boolean {
  return pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern;
}
