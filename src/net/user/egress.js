/**
 * Where a guest may connect to: an ordered list of rules by address and by name.
 *
 * A rule by name works through the forwarder: whoever resolves an allowed name
 * may then reach the addresses it was given, until they expire. Names that the
 * rules do not allow are not resolved.
 */
import { UserError } from '../../base/index.js';
import { SECOND_NANOS } from '../timers.js';
import { ipKey, isInside, parseCidr } from '../wire/ip-address.js';
/** A name's address stays usable at least this long, so that a slow program still reaches it. */
const NAME_TIME_MIN_NANOS = 60 * SECOND_NANOS;
const NAME_TIME_MAX_NANOS = 3600 * SECOND_NANOS;
const LEARNED_MAX = 4096;
/** @throws UserError that names the rule */
export function parseEgress(rules, standard) {
    return new Egress(rules.map((rule, i) => parseRule(rule, i)), standard === 'allow');
}
function parseRule({ action, cidr, name, protocol, port }, index) {
    const fault = (what) => new UserError(`network: egress rule ${index + 1}: ${what}`);
    if (action !== 'allow' && action !== 'deny')
        throw fault(`the action must be allow or deny, not ${action}`);
    if (cidr !== undefined && name !== undefined)
        throw fault('cidr and name exclude each other');
    const net = cidr === undefined ? undefined : parseCidr(cidr);
    if (cidr !== undefined && net === undefined)
        throw fault(`${cidr} is not an address or net, like 192.0.2.0/24`);
    if (name !== undefined && !/^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$/i.test(name)) {
        throw fault(`${name} is not a domain name`);
    }
    const ports = typeof port === 'number' ? [port, port] : (port ?? [0, 65_535]);
    if (!ports.every((value) => Number.isInteger(value) && value >= 0 && value <= 65_535) || ports[0] > ports[1]) {
        throw fault(`the port must be a number up to 65535 or a range of two`);
    }
    const lowerName = name?.toLowerCase().replace(/\.$/, '');
    return { isAllow: action === 'allow', cidr: net, name: lowerName, protocol, ports };
}
export class Egress {
    #rules;
    #allowsByDefault;
    /** By address: the names it was given for, and until when that counts. */
    #learned = new Map();
    constructor(rules, allowsByDefault) {
        this.#rules = rules;
        this.#allowsByDefault = allowsByDefault;
    }
    /** Names matter: queries must pass through the forwarder to be seen. */
    get hasNames() {
        return this.#rules.some(({ name }) => name !== undefined);
    }
    allows({ address, port, protocol }, nowNanos) {
        const names = this.#namesOf(address, nowNanos);
        for (const rule of this.#rules) {
            const isSame = (rule.protocol ?? protocol) === protocol && port >= rule.ports[0] && port <= rule.ports[1];
            if (isSame && matchesAddress(rule, address, names))
                return rule.isAllow;
        }
        return this.#allowsByDefault;
    }
    /**
     * Whether a name may be asked for. Without rules by name all may, or a guest
     * that is allowed an address could not find it.
     */
    allowsName(name) {
        if (!this.hasNames)
            return true;
        for (const rule of this.#rules) {
            const isForName = rule.name === undefined ? rule.cidr === undefined : matchesName(rule.name, name);
            if (isForName)
                return rule.isAllow;
        }
        return this.#allowsByDefault;
    }
    /** A name was resolved for the guest. */
    learn(name, addresses, nowNanos) {
        if (!this.hasNames)
            return;
        for (const { address, ttlSeconds } of addresses) {
            const key = ipKey(address);
            const names = this.#learned.get(key) ?? new Map();
            this.#learned.delete(key); // the one that was learned longest ago is first
            this.#learned.set(key, names);
            const timeNanos = Math.min(NAME_TIME_MAX_NANOS, Math.max(NAME_TIME_MIN_NANOS, ttlSeconds * SECOND_NANOS));
            if (names.size < 64 || names.has(name))
                names.set(name, nowNanos + timeNanos);
        }
        while (this.#learned.size > LEARNED_MAX)
            this.#learned.delete(this.#learned.keys().next().value);
    }
    #namesOf(address, nowNanos) {
        const names = this.#learned.size === 0 ? undefined : this.#learned.get(ipKey(address));
        return names === undefined ? [] : [...names].filter(([, untilNanos]) => untilNanos > nowNanos).map(([name]) => name);
    }
}
function matchesAddress(rule, address, names) {
    if (rule.cidr !== undefined)
        return isInside(rule.cidr, address);
    return rule.name === undefined || names.some((name) => matchesName(rule.name, name));
}
function matchesName(pattern, name) {
    return pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern;
}
