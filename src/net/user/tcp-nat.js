import { TcpConnection } from '../tcp/connection.js';
import { SECOND_NANOS } from '../timers.js';
import { ipHeaderBytes } from '../wire/ip.js';
import { seqAdd, TCP_FLAG, TCP_HEADER_BYTES } from '../wire/tcp.js';
import { Splice } from './splice.js';
const KEEP_ALIVE_NANOS = 120 * SECOND_NANOS;
export class TcpNat {
    #ports;
    #entries = new Map();
    /** The guest's side is over, the host's is still sending what the guest had sent. */
    #lingering = new Set();
    constructor(ports) {
        this.#ports = ports;
    }
    get count() {
        return this.#entries.size + this.#lingering.size;
    }
    receive(packet, segment) {
        const key = flowKey(packet.source, segment.sourcePort, packet.destination, segment.destinationPort);
        const entry = this.#entries.get(key);
        if (entry?.connection.canBeReplacedBy(segment)) {
            entry.connection.abort();
            entry.splice.tcpEvents.closed('done');
            this.#begin(packet, segment);
        }
        else if (entry !== undefined)
            entry.connection.receive(segment);
        else
            this.#begin(packet, segment);
    }
    /**
     * Connects to the guest for a stream of the host's that is there already.
     * @returns the stream's events, or undefined when there is no room or the ports are in use
     */
    connectToGuest(flow, stream) {
        const key = flowKey(flow.guest, flow.guestPort, flow.local, flow.localPort);
        if (this.count >= this.#ports.connectionsMax || this.#entries.has(key))
            return undefined;
        const splice = this.#splice(key, () => { });
        const connection = new TcpConnection(this.#network(flow), splice.tcpEvents, this.#config(flow));
        splice.join(connection, stream);
        this.#entries.set(key, { connection, splice });
        return splice.hostEvents;
    }
    isFlowFree({ guest, guestPort, local, localPort }) {
        return !this.#entries.has(flowKey(guest, guestPort, local, localPort));
    }
    close() {
        for (const { splice } of [...this.#entries.values()])
            splice.abort();
        for (const splice of [...this.#lingering])
            splice.abort();
    }
    #begin(packet, segment) {
        const flow = {
            guest: packet.source.slice(),
            guestPort: segment.sourcePort,
            local: packet.destination.slice(),
            localPort: segment.destinationPort,
        };
        const isSyn = (segment.flags & (TCP_FLAG.syn | TCP_FLAG.ack | TCP_FLAG.rst)) === TCP_FLAG.syn;
        if (!isSyn) {
            this.#refuse(flow, segment);
            return;
        }
        const decision = this.#ports.decide(flow);
        if (decision.kind === 'unreachable')
            this.#ports.unreachable(packet, decision.reason);
        else if (decision.kind === 'reset')
            this.#refuse(flow, segment);
        else if (decision.kind === 'open') {
            if (this.count >= this.#ports.connectionsMax || segment.sourcePort === 0)
                this.#refuse(flow, segment);
            else
                this.#open(flow, packet, segment, decision.open);
        }
    }
    #open(flow, packet, syn, open) {
        const key = flowKey(flow.guest, flow.guestPort, flow.local, flow.localPort);
        const quoted = { ...packet, source: flow.guest, destination: flow.local, bytes: packet.bytes.slice() };
        const splice = this.#splice(key, (failure) => {
            this.#ports.unreachable(quoted, failure === 'denied' ? 'prohibited' : 'host');
        });
        const connection = new TcpConnection(this.#network(flow), splice.tcpEvents, this.#config(flow), syn);
        this.#entries.set(key, { connection, splice });
        splice.join(connection, open(splice.hostEvents));
    }
    #splice(key, refused) {
        const splice = new Splice({
            budget: this.#ports.budget,
            queueMaxBytes: this.#ports.connectionBytes,
            refused,
            // The ports are free for the guest again.
            guestOver: () => {
                this.#lingering.add(splice);
                this.#forget(key, splice);
            },
            over: () => {
                this.#lingering.delete(splice);
                this.#forget(key, splice);
            },
        });
        return splice;
    }
    #forget(key, splice) {
        if (this.#entries.get(key)?.splice === splice)
            this.#entries.delete(key);
    }
    #config({ guest }) {
        const { budget, mtuBytes, connectionBytes } = this.#ports;
        return {
            mss: mtuBytes - ipHeaderBytes(guest) - TCP_HEADER_BYTES,
            receiveMaxBytes: connectionBytes,
            memoryRoom: () => budget.roomBytes,
            initialSequence: this.#ports.random() >>> 0,
            keepAliveNanos: KEEP_ALIVE_NANOS,
        };
    }
    #network(flow) {
        const { output, timers } = this.#ports;
        const { frames } = output;
        return {
            timers,
            canSend: () => frames.canSend(),
            waitForRoom: (waiter) => frames.waitForRoom(waiter),
            payloadMax: (mss) => output.tcpPayloadMax(flow.guest, mss),
            send: (segment) => output.sendTcp(flow, segment),
        };
    }
    /** RFC 9293, 3.5.2: no connection there. */
    #refuse(flow, { flags, sequence, acknowledgement, payload }) {
        if ((flags & TCP_FLAG.rst) !== 0)
            return;
        const hasAck = (flags & TCP_FLAG.ack) !== 0;
        const length = payload.length + ((flags & TCP_FLAG.syn) !== 0 ? 1 : 0) + ((flags & TCP_FLAG.fin) !== 0 ? 1 : 0);
        this.#ports.output.sendTcp(flow, {
            sequence: hasAck ? acknowledgement : 0,
            acknowledgement: hasAck ? 0 : seqAdd(sequence, length),
            flags: hasAck ? TCP_FLAG.rst : TCP_FLAG.rst | TCP_FLAG.ack,
            window: 0,
            options: {},
            payloadBytes: 0,
            mss: 1,
            copyPayload: () => { },
        });
    }
}
function flowKey(guest, guestPort, local, localPort) {
    return String.fromCharCode(guestPort, localPort, ...guest, ...local);
}
