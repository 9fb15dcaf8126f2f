import { SECOND_NANOS } from '../timers.js';
import { ipKey } from '../wire/ip-address.js';
const IDLE_NANOS = 240 * SECOND_NANOS;
const PEERS_MAX = 256;
/** Datagrams that wait for the socket to be opened. */
const EARLY_MAX = 16;
export class UdpNat {
    #ports;
    /** The least recently used first. */
    #associations = new Map();
    constructor(ports) {
        this.#ports = ports;
    }
    get count() {
        return this.#associations.size;
    }
    /** @param payload is copied */
    send(flow, to, payload) {
        const key = `${ipKey(flow.guest)},${flow.guestPort}`;
        const association = this.#associations.get(key) ?? this.#open(key, flow.guest);
        this.#associations.delete(key);
        this.#associations.set(key, association);
        association.idle.start(IDLE_NANOS);
        const { peers, socket, early } = association;
        const peerKey = `${to.address} ${to.port}`;
        if (!peers.has(peerKey)) {
            if (peers.size >= PEERS_MAX)
                peers.delete(peers.keys().next().value);
            peers.set(peerKey, { ...flow, guest: flow.guest.slice(), local: flow.local.slice() });
        }
        if (socket !== undefined)
            socket.send(payload.slice(), to);
        else if (early.length < EARLY_MAX)
            early.push({ bytes: payload.slice(), to });
    }
    close() {
        for (const association of this.#associations.values())
            this.#close(association);
    }
    #open(key, guest) {
        const { sockets, timers, associationsMax } = this.#ports;
        if (this.#associations.size >= associationsMax)
            this.#close(this.#associations.values().next().value);
        const idle = timers.create(() => this.#close(association));
        const association = { key, socket: undefined, peers: new Map(), early: [], idle, isClosed: false };
        this.#associations.set(key, association);
        const at = { kind: 'inet', address: guest.length === 4 ? '0.0.0.0' : '::', port: 0 };
        const events = {
            message: (bytes, from) => this.#receive(association, bytes, from),
            failed: () => { }, // an ICMP error: which datagram it was about, the host does not say
        };
        sockets.openDatagram(at, events).then((socket) => {
            if (association.isClosed) {
                socket.close();
                return;
            }
            association.socket = socket;
            for (const { bytes, to } of association.early.splice(0))
                socket.send(bytes, to);
        }, () => this.#close(association));
        return association;
    }
    #receive({ peers, idle }, bytes, from) {
        const flow = from?.kind === 'inet' ? peers.get(`${from.address} ${from.port}`) : undefined;
        if (flow === undefined)
            return;
        idle.start(IDLE_NANOS);
        this.#ports.deliver(flow, bytes);
    }
    #close(association) {
        association.isClosed = true;
        association.idle.stop();
        association.socket?.close();
        this.#associations.delete(association.key);
    }
}
