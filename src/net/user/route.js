/** What stands behind an address that the guest sends to. */
import { get16 } from '../wire/bytes.js';
import { ipKey, ipText, isInside, isLinkLocal, isLoopback, isMulticast, isUnspecified, } from '../wire/ip-address.js';
export function routeOf(config, address) {
    const version = address.length === 4 ? config.ipv4 : config.ipv6;
    if (version === undefined)
        return 'invalid';
    const key = ipKey(address);
    if (key === ipKey(version.host))
        return 'gateway';
    if (key === ipKey(version.dns))
        return 'dns';
    if (isMulticast(address) || address.every((byte) => byte === 255))
        return 'group';
    if (config.ipv4 !== undefined && key === ipKey(config.ipv4.broadcast))
        return 'group';
    if (config.ipv6 !== undefined && key === ipKey(config.ipv6.linkLocal))
        return 'gateway';
    if (isInside(version.net, address))
        return 'inside';
    return isReserved(address) ? 'invalid' : 'outside';
}
/**
 * RFC 6890 and RFC 4291: this host, loopback, link-local, class E; in IPv6 also
 * all forms that carry an IPv4 address, which would go around rules for IPv4.
 */
function isReserved(address) {
    if (isUnspecified(address) || isLoopback(address) || isLinkLocal(address))
        return true;
    if (address.length === 4)
        return address[0] === 0 || address[0] >= 240;
    const isMapped = address.subarray(0, 8).every((byte) => byte === 0); // ::/64 has ::a.b.c.d and ::ffff:a.b.c.d
    const isTranslated = get16(address, 0) === 0x64 && get16(address, 2) === 0xff9b;
    return isMapped || isTranslated || get16(address, 0) === 0x2002;
}
/** Whether a guest may call itself so; others are forged. */
export function isGuestAddress(config, address) {
    const version = address.length === 4 ? config.ipv4 : config.ipv6;
    if (version === undefined)
        return false;
    if (address.length === 16 && isLinkLocal(address))
        return routeOf(config, address) !== 'gateway';
    return routeOf(config, address) === 'inside';
}
/** The host's address for what the guest reaches through `route`. */
export function hostAddress(route, address) {
    if (route === 'outside')
        return ipText(address);
    return address.length === 4 ? '127.0.0.1' : '::1';
}
