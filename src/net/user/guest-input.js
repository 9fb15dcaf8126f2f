import { parseArp } from '../wire/arp.js';
import { ETHER_TYPE, parseEthernet } from '../wire/ethernet.js';
import { echoReply, icmpProtocol, parseIcmp, timeExceeded, unreachable } from '../wire/icmp.js';
import { PROTOCOL, parseIp4Packet, parseIp6Packet } from '../wire/ip.js';
import { isMulticast, isUnspecified } from '../wire/ip-address.js';
import { isGroupMac } from '../wire/mac.js';
import { ALL_NODES, NDP_HOP_LIMIT, NDP_TYPE, neighbourAdvert, parseNeighbour } from '../wire/ndp.js';
import { parseTcp } from '../wire/tcp.js';
import { parseUdp } from '../wire/udp.js';
import { Reassembly } from './reassembly.js';
import { isGuestAddress, routeOf } from './route.js';
export class GuestInput {
    receivedFrames = 0;
    /** Malformed, forged or of a kind that nobody here takes. */
    droppedFrames = 0;
    reassembly;
    #ports;
    constructor(ports) {
        this.#ports = ports;
        this.reassembly = new Reassembly(ports.timers);
    }
    receive(bytes, unfinished) {
        this.receivedFrames++;
        const frame = parseEthernet(bytes);
        const isTaken = frame !== undefined &&
            !isGroupMac(frame.source) &&
            this.#receive(frame.type, frame.source, frame.payload, unfinished !== undefined);
        if (!isTaken)
            this.droppedFrames++;
    }
    #receive(type, source, payload, trustChecksum) {
        const { ipv4, ipv6 } = this.#ports.config;
        switch (type) {
            case ETHER_TYPE.arp:
                return ipv4 !== undefined && this.#receiveArp(payload);
            case ETHER_TYPE.ipv4:
                return ipv4 !== undefined && this.#receiveIp(parseIp4Packet(payload), source, trustChecksum);
            case ETHER_TYPE.ipv6:
                return ipv6 !== undefined && this.#receiveIp(parseIp6Packet(payload), source, trustChecksum);
            default:
                return false;
        }
    }
    /** Answers for the addresses we play, and learns who has the others (RFC 826). */
    #receiveArp(payload) {
        const packet = parseArp(payload);
        if (packet === undefined || isGroupMac(packet.senderMac))
            return false;
        const { config, output } = this.#ports;
        if (isGuestAddress(config, packet.senderIp))
            output.neighbours.learn(packet.senderIp, packet.senderMac);
        const isOurs = this.#isOurs(packet.targetIp);
        if (packet.operation === 'request' && isOurs) {
            output.sendArp('reply', packet.targetIp, packet.senderMac, packet.senderIp);
        }
        return true;
    }
    #isOurs(address) {
        return this.#ports.output.isVirtual(address) || this.#ports.isForwarded(address);
    }
    #receiveIp(packet, mac, trustChecksum) {
        if (packet === undefined)
            return false;
        const { config, output } = this.#ports;
        // Before it has an address a guest speaks as nobody: DHCP, and the search for duplicates of its address.
        if (!isUnspecified(packet.source)) {
            if (!isGuestAddress(config, packet.source))
                return false;
            output.neighbours.learn(packet.source, mac);
        }
        const whole = this.reassembly.add(packet);
        return whole === undefined || this.#receivePacket(whole, trustChecksum);
    }
    #receivePacket(packet, trustChecksum) {
        const { source, destination, protocol, payload } = packet;
        const context = { source, destination, trustChecksum };
        if (this.#hasExpired(packet))
            return true;
        switch (protocol) {
            case PROTOCOL.tcp: {
                const segment = parseTcp(payload, context);
                if (segment === undefined || isUnspecified(source))
                    return false;
                this.#ports.tcp(packet, segment);
                return true;
            }
            case PROTOCOL.udp: {
                const datagram = parseUdp(payload, context);
                if (datagram !== undefined)
                    this.#ports.udp(packet, datagram);
                return datagram !== undefined;
            }
            case PROTOCOL.icmp:
            case PROTOCOL.icmpv6:
                return protocol === icmpProtocol(source) && this.#receiveIcmp(packet);
            default:
                return this.unreachable(packet, 'prohibited');
        }
    }
    /** We are one router on the way out: a packet that may not pass one dies here. */
    #hasExpired(packet) {
        if (packet.hopLimit > 1 || routeOf(this.#ports.config, packet.destination) !== 'outside')
            return false;
        const message = timeExceeded(packet);
        const from = this.#routerAddress(packet.source);
        if (message !== undefined && from !== undefined && !isUnspecified(packet.source)) {
            this.#ports.output.sendIcmp(message, from, packet.source);
        }
        return true;
    }
    #routerAddress(source) {
        const { ipv4, ipv6 } = this.#ports.config;
        return source.length === 4 ? ipv4?.host : ipv6?.host;
    }
    /** Tells the guest that a packet cannot be delivered. Always true: it was dealt with. */
    unreachable(packet, reason) {
        const { source, destination } = packet;
        const message = unreachable(packet, reason);
        // A port is unreachable at its machine, all else at the router.
        const from = reason === 'port' && !isMulticast(destination) ? destination : this.#routerAddress(source);
        const isForOne = ['gateway', 'dns', 'inside', 'outside'].includes(routeOf(this.#ports.config, destination));
        if (message !== undefined && from !== undefined && isForOne && !isUnspecified(source)) {
            this.#ports.output.sendIcmp(message, from, source);
        }
        return true;
    }
    #receiveIcmp(packet) {
        const { source, destination, payload } = packet;
        const message = parseIcmp(payload, source, destination);
        if (message === undefined)
            return false;
        if (source.length === 16 && message.type >= NDP_TYPE.routerSolicit && message.type <= NDP_TYPE.neighbourAdvert) {
            return packet.hopLimit === NDP_HOP_LIMIT && this.#receiveNdp(packet);
        }
        const reply = echoReply(message, source.length === 4 ? 4 : 6);
        if (reply === undefined)
            return true; // errors about our packets, and answers to nothing we asked
        if (this.#isOurs(destination))
            this.#ports.output.sendIcmp(reply, destination, source);
        else
            this.unreachable(packet, routeOf(this.#ports.config, destination) === 'inside' ? 'host' : 'network');
        return true;
    }
    #receiveNdp(packet) {
        const { source, destination, payload } = packet;
        const { output, config, advertiseRouter } = this.#ports;
        const message = parseIcmp(payload, source, destination);
        if (message.type === NDP_TYPE.routerSolicit) {
            advertiseRouter(isUnspecified(source) ? ALL_NODES : source);
            return true;
        }
        const neighbour = parseNeighbour(message);
        if (neighbour === undefined)
            return message.type === NDP_TYPE.routerAdvert; // a guest that routes is none of ours
        const { kind, target, mac } = neighbour;
        if (kind === 'advert') {
            if (mac !== undefined && !isGroupMac(mac) && isGuestAddress(config, target))
                output.neighbours.learn(target, mac);
            return true;
        }
        if (!this.#isOurs(target))
            return true;
        // Who looks for duplicates has no address yet: all hear that this one is taken.
        const isProbe = isUnspecified(source);
        const advert = neighbourAdvert(target, output.macOf(target), !isProbe);
        output.sendIcmp(advert, target, isProbe ? ALL_NODES : source, NDP_HOP_LIMIT);
        return true;
    }
}
