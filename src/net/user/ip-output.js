import { buildArp } from '../wire/arp.js';
import { put16 } from '../wire/bytes.js';
import { checksum, pseudoHeaderSum } from '../wire/checksum.js';
import { buildEthernet, ETHER_TYPE, ETHERNET_HEADER_BYTES, putEthernet } from '../wire/ethernet.js';
import { buildIcmp, icmpProtocol } from '../wire/icmp.js';
import { buildIpPackets, ipHeaderBytes, PROTOCOL, putIpHeader } from '../wire/ip.js';
import { ipKey, isMulticast, isUnspecified } from '../wire/ip-address.js';
import { BROADCAST_MAC } from '../wire/mac.js';
import { multicastMac, NDP_HOP_LIMIT, neighbourSolicit, solicitedNode } from '../wire/ndp.js';
import { putTcpHeader, tcpHeaderBytes } from '../wire/tcp.js';
import { buildUdp } from '../wire/udp.js';
import { Neighbours } from './neighbours.js';
/** A segment with offload may carry as much as an IP packet can. */
const PACKET_MAX_BYTES = 65_535;
const TCP_CHECKSUM_OFFSET = 16;
/** The address of a virtual machine that only we know, as slirp makes it. */
export function virtualMac(address) {
    return Uint8Array.of(0x52, address.length === 4 ? 0x55 : 0x56, ...address.subarray(address.length - 4));
}
export class IpOutput {
    frames;
    neighbours;
    #config;
    #macs = new Map();
    #identification = 0;
    constructor(frames, timers, config) {
        this.frames = frames;
        this.#config = config;
        this.neighbours = new Neighbours(timers, (address) => this.#solicit(address));
    }
    /** Sends to an address of the guest's, or to a group. */
    sendIp(header, payload) {
        const { source, destination } = header;
        this.#identification = (this.#identification + 1) & 0xffff;
        for (const packet of buildIpPackets(header, payload, this.#config.mtuBytes, this.#identification)) {
            const frame = buildEthernet({
                destination: BROADCAST_MAC,
                source: this.macOf(source),
                type: source.length === 4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6,
                payload: packet,
            });
            this.#sendFrame(frame, destination);
        }
    }
    sendUdp({ guest, guestPort, local, localPort }, payload) {
        const datagram = { sourcePort: localPort, destinationPort: guestPort, payload };
        const context = { source: local, destination: guest };
        this.sendIp({ ...context, protocol: PROTOCOL.udp }, buildUdp(datagram, context));
    }
    sendIcmp(message, source, destination, hopLimit = 64) {
        const payload = buildIcmp(message, source, destination);
        this.sendIp({ source, destination, protocol: icmpProtocol(source), hopLimit }, payload);
    }
    sendArp(operation, senderIp, targetMac, targetIp) {
        const senderMac = this.macOf(senderIp);
        const isRequest = operation === 'request';
        const payload = buildArp({
            operation,
            senderMac,
            senderIp,
            targetMac: isRequest ? new Uint8Array(6) : targetMac,
            targetIp,
        });
        const destination = isRequest ? BROADCAST_MAC : targetMac;
        this.frames.send(buildEthernet({ destination, source: senderMac, type: ETHER_TYPE.arp, payload }));
    }
    /** The most that one segment may carry: as much as the guest's driver takes to cut itself. */
    tcpPayloadMax(guest, mss) {
        const { takes } = this.frames;
        const canCut = takes.checksum && (guest.length === 4 ? takes.tcp4 : takes.tcp6);
        if (!canCut)
            return mss;
        const room = PACKET_MAX_BYTES - ipHeaderBytes(guest) - tcpHeaderBytes({});
        return Math.max(mss, room - (room % mss));
    }
    sendTcp({ guest, guestPort, local, localPort }, segment) {
        const tcpOffset = ETHERNET_HEADER_BYTES + ipHeaderBytes(guest);
        const payloadOffset = tcpOffset + tcpHeaderBytes(segment.options);
        const frame = new Uint8Array(payloadOffset + segment.payloadBytes);
        const tcpBytes = frame.length - tcpOffset;
        putEthernet(frame, BROADCAST_MAC, this.macOf(local), guest.length === 4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6);
        putIpHeader(frame, ETHERNET_HEADER_BYTES, { source: local, destination: guest, protocol: PROTOCOL.tcp }, tcpBytes);
        putTcpHeader(frame, tcpOffset, { ...segment, sourcePort: localPort, destinationPort: guestPort });
        segment.copyPayload(frame, payloadOffset);
        const pseudo = pseudoHeaderSum(local, guest, PROTOCOL.tcp, tcpBytes);
        const canLeaveChecksum = this.frames.takes.checksum;
        put16(frame, tcpOffset + TCP_CHECKSUM_OFFSET, canLeaveChecksum ? pseudo : checksum(frame, tcpOffset, frame.length, pseudo));
        const isCut = segment.payloadBytes > segment.mss;
        const unfinished = canLeaveChecksum
            ? {
                checksumStart: tcpOffset,
                checksumOffset: TCP_CHECKSUM_OFFSET,
                segments: isCut
                    ? {
                        kind: guest.length === 4 ? 'tcp4' : 'tcp6',
                        payloadBytes: segment.mss,
                        headerBytes: payloadOffset,
                    }
                    : undefined,
            }
            : undefined;
        this.#sendFrame(frame, guest, unfinished);
    }
    /** The Ethernet address of one of ours. */
    macOf(address) {
        const key = ipKey(address);
        let mac = this.#macs.get(key);
        if (mac === undefined) {
            // Addresses outside come from the gateway.
            const { ipv4, ipv6 } = this.#config;
            const host = address.length === 4 ? ipv4?.host : ipv6?.host;
            mac = virtualMac(this.isVirtual(address) || host === undefined ? address : host);
            if (this.#macs.size >= 1024)
                this.#macs.clear();
            this.#macs.set(key, mac);
        }
        return mac;
    }
    /** One of the machines that we play: gateway, name server. */
    isVirtual(address) {
        const key = ipKey(address);
        const { ipv4, ipv6 } = this.#config;
        const ours = address.length === 4 ? [ipv4?.host, ipv4?.dns] : [ipv6?.host, ipv6?.dns, ipv6?.linkLocal];
        return ours.some((own) => own !== undefined && ipKey(own) === key);
    }
    #sendFrame(frame, destination, unfinished) {
        const group = this.#groupMac(destination);
        const send = (mac) => {
            frame.set(mac, 0);
            this.frames.send(frame, unfinished);
        };
        if (group !== undefined)
            send(group);
        else
            this.neighbours.whenKnown(destination, send);
    }
    #groupMac(destination) {
        if (destination.length === 16)
            return isMulticast(destination) ? multicastMac(destination) : undefined;
        return destination.every((byte) => byte === 255) || isUnspecified(destination) ? BROADCAST_MAC : undefined;
    }
    #solicit(address) {
        const { ipv4, ipv6 } = this.#config;
        if (address.length === 4 && ipv4 !== undefined)
            this.sendArp('request', ipv4.host, BROADCAST_MAC, address);
        if (address.length === 16 && ipv6 !== undefined) {
            const message = neighbourSolicit(address, this.macOf(ipv6.linkLocal));
            this.sendIcmp(message, ipv6.linkLocal, solicitedNode(address), NDP_HOP_LIMIT);
        }
    }
}
