/** IPv6 neighbour discovery (RFC 4861) and the options of router advertisements (RFC 8106). */
import { concat, put16, put32 } from './bytes.js';
import { encodeDnsName } from './dns.js';
export const NDP_TYPE = { routerSolicit: 133, routerAdvert: 134, neighbourSolicit: 135, neighbourAdvert: 136 };
/** Messages with another hop limit came over a router and are false. */
export const NDP_HOP_LIMIT = 255;
const OPTION = { sourceMac: 1, targetMac: 2, prefix: 3, rdnss: 25, dnssl: 31 };
const OPTION_MAX = 16;
export const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
export function parseNeighbour({ type, code, body }) {
    const kind = type === NDP_TYPE.neighbourSolicit ? 'solicit' : type === NDP_TYPE.neighbourAdvert ? 'advert' : undefined;
    if (kind === undefined || code !== 0 || body.length < 20)
        return undefined;
    const target = body.subarray(4, 20);
    if (target[0] === 0xff)
        return undefined;
    const wanted = kind === 'solicit' ? OPTION.sourceMac : OPTION.targetMac;
    let mac;
    let at = 20;
    for (let i = 0; at < body.length; i++) {
        const length = at + 1 < body.length ? body[at + 1] * 8 : 0;
        if (length === 0 || at + length > body.length || i === OPTION_MAX)
            return undefined;
        if (body[at] === wanted && length === 8)
            mac = body.subarray(at + 2, at + 8);
        at += length;
    }
    return { kind, target, mac };
}
export function neighbourAdvert(target, mac, isSolicited) {
    const flags = 0xa0 | (isSolicited ? 0x40 : 0); // router, override
    const body = concat([Uint8Array.of(flags, 0, 0, 0), target, Uint8Array.of(OPTION.targetMac, 1), mac]);
    return { type: NDP_TYPE.neighbourAdvert, code: 0, body };
}
export function neighbourSolicit(target, sourceMac) {
    const body = concat([new Uint8Array(4), target, Uint8Array.of(OPTION.sourceMac, 1), sourceMac]);
    return { type: NDP_TYPE.neighbourSolicit, code: 0, body };
}
/** The multicast group in which the owner of an address hears solicitations (RFC 4291, 2.7.1). */
export function solicitedNode(address) {
    return Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...address.subarray(13));
}
/** RFC 2464, 7. */
export function multicastMac(group) {
    return Uint8Array.of(0x33, 0x33, ...group.subarray(12));
}
/** Hosts make their own addresses from the prefix and ask DHCPv6 for the rest. */
export function routerAdvert({ mac, prefix, lifetimeSeconds, dns, searchDomains }) {
    const head = new Uint8Array(12);
    head[0] = 64; // hop limit
    head[1] = 0x40; // other configuration by DHCPv6
    put16(head, 2, lifetimeSeconds);
    const prefixOption = new Uint8Array(32);
    prefixOption.set([OPTION.prefix, 4, prefix.prefixLength, 0xc0]); // on-link, autonomous
    put32(prefixOption, 4, 86_400);
    put32(prefixOption, 8, 14_400);
    prefixOption.set(prefix.address, 16);
    const parts = [head, Uint8Array.of(OPTION.sourceMac, 1), mac, prefixOption];
    if (dns !== undefined)
        parts.push(lifetimeOption(OPTION.rdnss, lifetimeSeconds, dns));
    const names = searchDomains.flatMap((domain) => encodeDnsName(domain) ?? []);
    if (names.length > 0)
        parts.push(lifetimeOption(OPTION.dnssl, lifetimeSeconds, concat(names)));
    return { type: NDP_TYPE.routerAdvert, code: 0, body: concat(parts) };
}
function lifetimeOption(type, lifetimeSeconds, value) {
    const option = new Uint8Array(Math.ceil((8 + value.length) / 8) * 8);
    option[0] = type;
    option[1] = option.length / 8;
    put32(option, 4, lifetimeSeconds);
    option.set(value, 8);
    return option;
}
