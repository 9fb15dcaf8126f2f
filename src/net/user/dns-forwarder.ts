/**
 * The name server at the dns address: answers from the host's own table,
 * passes the rest to the host's resolvers, over UDP and TCP, as it came.
 */
import type { HostDatagramSocket, HostEndpoint, HostResolver, HostSockets, HostStream } from '../../contract/index.ts';
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';
import { concat, copyOf, get16, put16 } from '../wire/bytes.ts';
import {
  answersQuestion,
  buildDnsAnswer,
  DNS_RCODE,
  DNS_TYPE,
  type DnsQuestion,
  dnsAddresses,
  parseDnsQuery,
} from '../wire/dns.ts';
import { parseIp } from '../wire/ip-address.ts';
import type { Egress } from './egress.ts';

const TRY_NANOS = 3 * SECOND_NANOS;
const ROUNDS = 2;
const SERVERS_MAX = 3;
const QUERIES_MAX = 256;
const HOSTS_TTL_SECONDS = 60;
const MESSAGE_MAX_BYTES = 65_535;

export interface DnsForwarderPorts {
  readonly sockets: HostSockets;
  readonly resolver: HostResolver;
  readonly timers: Timers;
  readonly egress: Egress;
  /** 32 random bits. */
  random(): number;
}

export type DnsTransport = 'udp' | 'tcp';

/** One question on its way. */
interface Query {
  readonly bytes: Uint8Array;
  readonly question: DnsQuestion;
  readonly transport: DnsTransport;
  readonly servers: readonly HostEndpoint[];
  readonly answer: (response: Uint8Array) => void;
  readonly timer: StackTimer;
  attempt: number;
  /** Undoes the current attempt. */
  cancel: () => void;
}

export class DnsForwarder {
  readonly #ports: DnsForwarderPorts;
  readonly #queries = new Set<Query>();

  constructor(ports: DnsForwarderPorts) {
    this.#ports = ports;
  }

  get pendingCount(): number {
    return this.#queries.size;
  }

  /**
   * Calls `answer` once, with the query's own identifier, perhaps before this returns. The bytes are copied.
   * @returns false for what is no query: it gets no answer
   */
  ask(bytes: Uint8Array, transport: DnsTransport, answer: (response: Uint8Array) => void): boolean {
    const question = parseDnsQuery(bytes);
    if (question === undefined) return false;
    const own = this.#ownAnswer(bytes, question);
    const servers = this.#ports.resolver.servers().slice(0, SERVERS_MAX);
    if (own !== undefined) answer(own);
    else if (servers.length > 0 && this.#queries.size < QUERIES_MAX) {
      this.#start(bytes, question, transport, servers, answer);
    } else answer(buildDnsAnswer(bytes, question, DNS_RCODE.serverFailure));
    return true;
  }

  close(): void {
    for (const query of this.#queries) this.#forget(query);
  }

  #start(
    bytes: Uint8Array,
    question: DnsQuestion,
    transport: DnsTransport,
    servers: readonly HostEndpoint[],
    answer: (response: Uint8Array) => void,
  ): void {
    const timer = this.#ports.timers.create(() => this.#next(query));
    const query: Query = {
      bytes: copyOf(bytes),
      question,
      transport,
      servers,
      answer,
      timer,
      attempt: 0,
      cancel: () => {},
    };
    this.#queries.add(query);
    this.#next(query);
  }

  #ownAnswer(bytes: Uint8Array, question: DnsQuestion): Uint8Array | undefined {
    const { egress, resolver, timers } = this.#ports;
    if (!egress.allowsName(question.name)) return buildDnsAnswer(bytes, question, DNS_RCODE.refused);
    if (question.type !== DNS_TYPE.a && question.type !== DNS_TYPE.aaaa) return undefined;
    const all = resolver.hosts(question.name).map(parseIp);
    if (all.length === 0) return undefined;
    const length = question.type === DNS_TYPE.a ? 4 : 16;
    const addresses = all
      .filter((address) => address?.length === length)
      .map((address) => ({ address: address!, ttlSeconds: HOSTS_TTL_SECONDS }));
    egress.learn(question.name, addresses, timers.nowNanos());
    return buildDnsAnswer(bytes, question, DNS_RCODE.noError, addresses);
  }

  /** The next server; after the last round, the guest is told that it failed. */
  #next(query: Query): void {
    query.cancel();
    query.cancel = () => {};
    const { servers, attempt } = query;
    if (attempt >= servers.length * ROUNDS) {
      this.#forget(query);
      query.answer(buildDnsAnswer(query.bytes, query.question, DNS_RCODE.serverFailure));
      return;
    }
    query.attempt++;
    query.timer.start(TRY_NANOS);
    const server = servers[attempt % servers.length];
    // The guest's identifier says nothing to an attacker on the host's network (RFC 5452, 9.2).
    const outgoing = copyOf(query.bytes);
    put16(outgoing, 0, this.#ports.random() & 0xffff);
    if (query.transport === 'udp') this.#tryUdp(query, outgoing, server);
    else this.#tryTcp(query, outgoing, server);
  }

  #tryUdp(query: Query, outgoing: Uint8Array, server: HostEndpoint): void {
    let socket: HostDatagramSocket | undefined;
    let isOver = false;
    query.cancel = () => {
      isOver = true;
      socket?.close();
    };
    const isIpv6 = server.kind === 'inet' && server.address.includes(':');
    const events = {
      message: (bytes: Uint8Array, from: HostEndpoint | undefined) => {
        const isFromServer =
          from?.kind === 'inet' &&
          server.kind === 'inet' &&
          from.address === server.address &&
          from.port === server.port;
        if (!isOver && isFromServer) this.#receive(query, outgoing, bytes);
      },
      failed: () => {
        if (!isOver) this.#next(query);
      },
    };
    this.#ports.sockets.openDatagram({ kind: 'inet', address: isIpv6 ? '::' : '0.0.0.0', port: 0 }, events).then(
      (opened) => {
        socket = opened;
        if (isOver) opened.close();
        else opened.send(outgoing, server);
      },
      () => {
        if (!isOver) this.#next(query);
      },
    );
  }

  #tryTcp(query: Query, outgoing: Uint8Array, server: HostEndpoint): void {
    let isOver = false;
    const reader = new DnsMessageReader((message) => {
      if (!isOver) this.#receive(query, outgoing, message);
    });
    const failed = () => {
      if (!isOver) this.#next(query);
    };
    const stream = this.#ports.sockets.connect(server, {
      connected: () => stream.write(framedDns(outgoing)),
      data: (bytes) => reader.push(bytes),
      ended: failed,
      closed: failed,
    });
    query.cancel = () => {
      isOver = true;
      stream.destroy();
    };
  }

  #receive(query: Query, outgoing: Uint8Array, response: Uint8Array): void {
    const { question, bytes, answer } = query;
    if (response.length < 12 || get16(response, 0) !== get16(outgoing, 0) || !answersQuestion(response, question))
      return;
    this.#forget(query);
    const { egress, timers } = this.#ports;
    egress.learn(question.name, dnsAddresses(response), timers.nowNanos());
    const restored = copyOf(response);
    put16(restored, 0, get16(bytes, 0));
    answer(restored);
  }

  #forget(query: Query): void {
    query.cancel();
    query.timer.stop();
    this.#queries.delete(query);
  }
}

/** Two bytes of length before each message (RFC 7766, 8). */
export function framedDns(message: Uint8Array): Uint8Array {
  const length = new Uint8Array(2);
  put16(length, 0, message.length);
  return concat([length, message]);
}

/** Takes a stream apart into messages. */
export class DnsMessageReader {
  #rest: Uint8Array = new Uint8Array(0);
  readonly #onMessage: (message: Uint8Array) => void;

  constructor(onMessage: (message: Uint8Array) => void) {
    this.#onMessage = onMessage;
  }

  push(bytes: Uint8Array): void {
    // At most one unfinished message is kept: what is whole is handed on at once.
    let rest = this.#rest.length === 0 ? bytes : concat([this.#rest, bytes]);
    while (rest.length >= 2 && rest.length >= 2 + get16(rest, 0)) {
      const end = 2 + get16(rest, 0);
      this.#onMessage(rest.subarray(2, end));
      rest = rest.subarray(end);
    }
    this.#rest = copyOf(rest.subarray(0, MESSAGE_MAX_BYTES + 2));
  }
}

/** The forwarder behind a guest's TCP connection. */
export function dnsStream(
  forwarder: DnsForwarder,
  events: { data(bytes: Uint8Array): void; written?(byteCount: number): void; ended(): void },
): HostStream {
  let [pending, isPaused, isEnding, isOver] = [0, false, false, false];
  /** What came while the guest takes no answers; the connection's window bounds it. */
  let held: Uint8Array[] = [];
  const finishWhenIdle = () => {
    if (!isEnding || isOver || pending > 0 || held.length > 0) return;
    isOver = true;
    events.ended();
  };
  const reader = new DnsMessageReader((message) => {
    pending++;
    const isAsked = forwarder.ask(message, 'tcp', (response) => {
      pending--;
      if (!isOver) events.data(framedDns(response));
      finishWhenIdle();
    });
    if (!isAsked) pending--;
  });
  const take = (bytes: Uint8Array) => {
    reader.push(bytes);
    events.written?.(bytes.length);
  };
  return {
    write(bytes) {
      if (isPaused) held.push(bytes);
      else take(bytes);
    },
    end() {
      isEnding = true;
      finishWhenIdle();
    },
    destroy() {
      isOver = true;
    },
    pause() {
      isPaused = true;
    },
    resume() {
      isPaused = false;
      const waiting = held;
      held = [];
      for (const bytes of waiting) take(bytes);
      finishWhenIdle();
    },
  };
}
