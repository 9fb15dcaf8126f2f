/** Ports of the host's that lead into the guest; added and removed while it runs. */
import { UserError } from '../../base/index.js';
import { SECOND_NANOS } from '../timers.js';
import { ipKey } from '../wire/ip-address.js';
import { hostForwardKey, parseHostForwardKey } from './forward-text.js';
const RULES_MAX = 1024;
const CLIENT_IDLE_NANOS = 240 * SECOND_NANOS;
const CLIENTS_MAX = 1024;
/** RFC 6335, 6. */
const DYNAMIC_PORTS = { first: 49_152, count: 16_384 };
export class HostForwards {
    #ports;
    #rules = new Map();
    /** By the flow's numbers, to find the client that a guest's datagram answers. */
    #clients = new Map();
    /** By rule and the client's endpoint. */
    #clientsByOrigin = new Map();
    #nextPort = 0;
    constructor(ports) {
        this.#ports = ports;
    }
    /** The rules in force, with the ports that were given where any was asked for. */
    list() {
        return Array.from(this.#rules.values(), ({ forward }) => forward);
    }
    /** Rejects with UserError. Resolves to the rule in force. */
    async add(forward) {
        const key = hostForwardKey(forward);
        if (this.#rules.has(key))
            throw new UserError(`the forwarding rule ${key} exists already`);
        if (this.#rules.size >= RULES_MAX)
            throw new UserError(`there cannot be more than ${RULES_MAX} forwarding rules`);
        const local = forward.guest.length === 4 ? this.#ports.config.ipv4?.host : this.#ports.config.ipv6?.host;
        if (local === undefined)
            throw new UserError(`the forwarding rule ${key} needs an IP version that is off`);
        const begin = { guest: forward.guest, guestPort: forward.guestPort, local, localPort: 0 };
        const { endpoint, close } = forward.protocol === 'tcp' ? await this.#listen(forward, begin) : await this.#openUdp(forward, begin);
        const hostPort = endpoint.kind === 'inet' ? endpoint.port : forward.hostPort;
        const inForce = { ...forward, hostPort };
        this.#rules.set(hostForwardKey(inForce), { forward: inForce, close });
        return inForce;
    }
    /** Takes a rule away; its connections go on. False when there is no such rule. */
    remove(text) {
        const key = parseHostForwardKey(text);
        const rule = this.#rules.get(key);
        rule?.close();
        return this.#rules.delete(key);
    }
    /** A datagram to the gateway that answers a client of a rule. False when it does not. */
    answerUdp(flow, payload) {
        const client = this.#clients.get(udpKey(flow));
        if (client === undefined)
            return false;
        client.idle.start(CLIENT_IDLE_NANOS);
        client.socket()?.send(payload.slice(), client.from);
        return true;
    }
    close() {
        for (const { close } of this.#rules.values())
            close();
        this.#rules.clear();
    }
    async #listen({ hostAddress, hostPort }, begin) {
        const listener = await this.#ports.sockets.listen({ kind: 'inet', address: hostAddress, port: hostPort }, (stream, from) => {
            const flow = this.#freeFlow(begin, from, (candidate) => this.#ports.isTcpFlowFree(candidate));
            const events = flow === undefined ? undefined : this.#ports.connectToGuest(flow, stream);
            if (events !== undefined)
                return events;
            stream.destroy();
            return { data: () => { }, ended: () => { }, closed: () => { } };
        });
        return { endpoint: listener.endpoint, close: () => listener.close() };
    }
    async #openUdp(forward, begin) {
        let socket;
        const origin = hostForwardKey(forward);
        const at = { kind: 'inet', address: forward.hostAddress, port: forward.hostPort };
        socket = await this.#ports.sockets.openDatagram(at, {
            message: (bytes, from) => {
                if (from === undefined)
                    return;
                const client = this.#client(origin, begin, from, () => socket);
                if (client !== undefined)
                    this.#ports.sendUdp(client.flow, bytes);
            },
            failed: () => { }, // an ICMP error about one client; the others stay
        });
        const close = () => {
            socket?.close();
            socket = undefined;
        };
        return { endpoint: socket.endpoint, close };
    }
    #client(origin, begin, from, socket) {
        const originKey = `${origin} ${from.kind === 'inet' ? `${from.address} ${from.port}` : from.path}`;
        let client = this.#clientsByOrigin.get(originKey);
        if (client === undefined) {
            const flow = this.#freeFlow(begin, from, (candidate) => !this.#clients.has(udpKey(candidate)));
            if (flow === undefined || this.#clients.size >= CLIENTS_MAX)
                return undefined;
            const idle = this.#ports.timers.create(() => {
                this.#clients.delete(udpKey(flow));
                this.#clientsByOrigin.delete(originKey);
            });
            client = { flow, from, socket, idle };
            this.#clients.set(udpKey(flow), client);
            this.#clientsByOrigin.set(originKey, client);
        }
        client.idle.start(CLIENT_IDLE_NANOS);
        return client;
    }
    /** The client's own port when the guest does not know it yet, else another. */
    #freeFlow(begin, from, isFree) {
        const own = { ...begin, localPort: from?.kind === 'inet' ? from.port : 0 };
        if (own.localPort > 0 && isFree(own))
            return own;
        for (let i = 0; i < DYNAMIC_PORTS.count; i++) {
            const localPort = DYNAMIC_PORTS.first + (this.#nextPort++ % DYNAMIC_PORTS.count);
            const flow = { ...begin, localPort };
            if (isFree(flow))
                return flow;
        }
        return undefined;
    }
}
function udpKey({ guest, guestPort, local, localPort }) {
    return `${ipKey(guest)}${guestPort},${ipKey(local)}${localPort}`;
}
