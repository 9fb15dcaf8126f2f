/** Puts fragments of IP packets together again (RFC 791, 3.2; RFC 8200, 4.5), within limits. */
import type { StackTimer, Timers } from '../timers.ts';
import { SECOND_NANOS } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import type { IpPacket } from '../wire/ip.ts';
import { ipKey } from '../wire/ip-address.ts';

/** RFC 791's upper bound; Linux waits 30 s, RFC 8200 says 60 s. */
const TIMEOUT_NANOS = 30 * SECOND_NANOS;
const PACKETS_MAX = 32;
const FRAGMENTS_MAX = 64;
const PAYLOAD_MAX_BYTES = 65_535;

interface Partial {
  readonly parts: { readonly offsetBytes: number; readonly bytes: Uint8Array }[];
  first: IpPacket | undefined;
  /** Known once the last fragment came. */
  totalBytes: number | undefined;
  receivedBytes: number;
  readonly timer: StackTimer;
}

export class Reassembly {
  readonly #timers: Timers;
  readonly #partials = new Map<string, Partial>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Packets that wait for the rest. */
  get count(): number {
    return this.#partials.size;
  }

  /** The packet without change when it is whole, the whole one when this was the last part, else undefined. */
  add(packet: IpPacket): IpPacket | undefined {
    const { fragment, payload } = packet;
    if (fragment === undefined) return packet;
    const end = fragment.offsetBytes + payload.length;
    // All but the last carry a multiple of 8 bytes.
    if (payload.length === 0 || end > PAYLOAD_MAX_BYTES || (fragment.more && payload.length % 8 !== 0))
      return undefined;
    const key = `${ipKey(packet.source)}${ipKey(packet.destination)}${fragment.identification},${packet.source.length === 4 ? packet.protocol : ''}`;
    const partial = this.#partials.get(key) ?? this.#create(key);
    if (!addPart(partial, packet, end)) {
      this.#drop(key, partial);
      return undefined;
    }
    if (partial.receivedBytes !== partial.totalBytes) return undefined;
    this.#drop(key, partial);
    return assemble(partial);
  }

  #create(key: string): Partial {
    if (this.#partials.size >= PACKETS_MAX) {
      const [oldestKey, oldest] = this.#partials.entries().next().value!;
      this.#drop(oldestKey, oldest);
    }
    const timer = this.#timers.create(() => this.#partials.delete(key));
    const partial: Partial = { parts: [], first: undefined, totalBytes: undefined, receivedBytes: 0, timer };
    this.#partials.set(key, partial);
    timer.start(TIMEOUT_NANOS);
    return partial;
  }

  #drop(key: string, partial: Partial): void {
    partial.timer.stop();
    this.#partials.delete(key);
  }
}

/** False when the fragments contradict each other: overlapping ones are refused whole (RFC 5722). */
function addPart(partial: Partial, packet: IpPacket, end: number): boolean {
  const { offsetBytes, more } = packet.fragment!;
  const { parts } = partial;
  const isKnown = parts.some((part) => part.offsetBytes === offsetBytes && part.bytes.length === packet.payload.length);
  if (isKnown) return true; // a duplicate from the network
  if (parts.some((part) => offsetBytes < part.offsetBytes + part.bytes.length && part.offsetBytes < end)) return false;
  const { totalBytes } = partial;
  if (parts.length === FRAGMENTS_MAX || end > (totalBytes ?? PAYLOAD_MAX_BYTES)) return false;
  if (!more) {
    if (totalBytes !== undefined || parts.some((part) => part.offsetBytes + part.bytes.length > end)) return false;
    partial.totalBytes = end;
  }
  parts.push({ offsetBytes, bytes: copyOf(packet.payload) });
  partial.receivedBytes += packet.payload.length;
  // Copies: the frame is only borrowed.
  if (offsetBytes === 0) {
    const { source, destination, bytes } = packet;
    partial.first = { ...packet, source: copyOf(source), destination: copyOf(destination), bytes: copyOf(bytes) };
  }
  return true;
}

function assemble({ parts, first, receivedBytes }: Partial): IpPacket {
  const payload = new Uint8Array(receivedBytes);
  for (const { offsetBytes, bytes } of parts) payload.set(bytes, offsetBytes);
  return { ...first!, fragment: undefined, payload };
}
