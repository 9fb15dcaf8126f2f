/** Stateless DHCPv6 (RFC 8415, 18.2.6; RFC 3646): what an information-request asks and its reply. */
import { concat, get16, latin1, put16 } from './bytes.js';
import { encodeDnsName } from './dns.js';
export const DHCPV6_PORT = { server: 547, client: 546 };
const MESSAGE = { informationRequest: 11, reply: 7 };
const OPTION = { clientId: 1, serverId: 2, optionRequest: 6, dns: 23, searchDomains: 24, bootFileUrl: 59 };
const DUID_MAX_BYTES = 130;
/** Undefined for other messages and malformed ones. */
export function parseDhcpv6(bytes) {
    if (bytes.length < 4 || bytes[0] !== MESSAGE.informationRequest)
        return undefined;
    let [clientId, serverId] = [];
    let requested = [];
    for (let at = 4; at < bytes.length;) {
        if (at + 4 > bytes.length)
            return undefined;
        const [code, end] = [get16(bytes, at), at + 4 + get16(bytes, at + 2)];
        if (end > bytes.length)
            return undefined;
        const value = bytes.subarray(at + 4, end);
        if (code === OPTION.clientId)
            clientId = value;
        if (code === OPTION.serverId)
            serverId = value;
        if (code === OPTION.optionRequest) {
            requested = Array.from({ length: value.length >> 1 }, (_, i) => get16(value, i * 2));
        }
        at = end;
    }
    if ((clientId?.length ?? 0) > DUID_MAX_BYTES)
        return undefined;
    return { transactionId: (bytes[1] << 16) | get16(bytes, 2), clientId, serverId, requested };
}
/** A server's identifier: its link-layer address (RFC 8415, 11.4). */
export function serverDuid(mac) {
    return Uint8Array.of(0, 3, 0, 1, ...mac);
}
export function buildDhcpv6Reply(request, settings) {
    const { transactionId, clientId, requested } = request;
    const header = Uint8Array.of(MESSAGE.reply, transactionId >> 16, transactionId >> 8, transactionId);
    const parts = [header, option(OPTION.serverId, serverDuid(settings.serverMac))];
    if (clientId !== undefined)
        parts.push(option(OPTION.clientId, clientId));
    const { dns, searchDomains, bootFileUrl } = settings;
    if (dns !== undefined && requested.includes(OPTION.dns))
        parts.push(option(OPTION.dns, dns));
    const names = searchDomains.flatMap((domain) => encodeDnsName(domain) ?? []);
    if (names.length > 0 && requested.includes(OPTION.searchDomains)) {
        parts.push(option(OPTION.searchDomains, concat(names)));
    }
    if (bootFileUrl !== undefined && requested.includes(OPTION.bootFileUrl)) {
        parts.push(option(OPTION.bootFileUrl, latin1(bootFileUrl)));
    }
    return concat(parts);
}
function option(code, value) {
    const bytes = new Uint8Array(4 + value.length);
    put16(bytes, 0, code);
    put16(bytes, 2, value.length);
    bytes.set(value, 4);
    return bytes;
}
