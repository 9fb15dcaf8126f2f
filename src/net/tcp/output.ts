/** The segments that a connection sends: header fields and options (RFC 9293, 3.1; RFC 7323; RFC 2018). */
import { seqAdd, TCP_FLAG, type TcpOptions } from '../wire/tcp.ts';
import type { TcpConfig, TcpNetwork } from './port.ts';
import type { TcpReceiver } from './receiver.ts';
import type { TcpSender } from './sender.ts';

export interface TcpOutputPorts {
  readonly network: TcpNetwork;
  readonly config: TcpConfig;
  readonly sender: () => TcpSender;
  readonly receiver: () => TcpReceiver;
  /** What the peer's SYN said. */
  readonly peerOptions: () => TcpOptions;
  /** A segment that acknowledges was sent. */
  readonly acknowledged: () => void;
}

export class TcpOutput {
  readonly #ports: TcpOutputPorts;

  constructor(ports: TcpOutputPorts) {
    this.#ports = ports;
  }

  /** The smallest shift with which the window field holds our window. */
  get windowScale(): number {
    let scale = 0;
    while (this.#ports.config.receiveMaxBytes >>> scale > 0xffff) scale++;
    return scale;
  }

  acknowledge(): void {
    const receiver = this.#ports.receiver();
    const hasBlocks = this.#ports.peerOptions().sackPermitted === true && receiver.hasEarly;
    const options = hasBlocks ? { sackBlocks: receiver.sackBlocks() } : undefined;
    this.#emit(TCP_FLAG.ack, this.#ports.sender().next, options);
  }

  /** An old sequence number, which makes the peer answer (RFC 9293, 3.8.4). */
  probe(): void {
    this.#emit(TCP_FLAG.ack, seqAdd(this.#ports.sender().una, -1));
  }

  /** @param isAnswer the peer's SYN came before: only what it offered is offered too */
  synchronize(isAnswer: boolean): void {
    const peer = this.#ports.peerOptions();
    const options = {
      mss: this.#ports.config.mss,
      windowScale: !isAnswer || peer.windowScale !== undefined ? this.windowScale : undefined,
      sackPermitted: !isAnswer || peer.sackPermitted === true,
    };
    const sender = this.#ports.sender();
    sender.next = seqAdd(sender.una, 1);
    sender.max = sender.next;
    this.#emit(isAnswer ? TCP_FLAG.syn | TCP_FLAG.ack : TCP_FLAG.syn, sender.una, options);
  }

  /** @param sequence what the peer said it expects, when it answered something we never sent */
  reset(sequence?: number): void {
    const flags = sequence === undefined ? TCP_FLAG.rst | TCP_FLAG.ack : TCP_FLAG.rst;
    this.#emit(flags, sequence ?? this.#ports.sender().next);
  }

  /** @param offset of `count` bytes in the sender's queue */
  data(sequence: number, offset: number, count: number, hasFin: boolean): void {
    const isLast = offset + count === this.#ports.sender().queue.length;
    const flags = TCP_FLAG.ack | (hasFin ? TCP_FLAG.fin : 0) | (isLast && count > 0 ? TCP_FLAG.psh : 0);
    this.#emit(flags, sequence, {}, offset, count);
  }

  #emit(flags: number, sequence: number, options: TcpOptions = {}, offset = 0, payloadBytes = 0): void {
    const sender = this.#ports.sender();
    const receiver = this.#ports.receiver();
    const hasAck = (flags & TCP_FLAG.ack) !== 0;
    if (hasAck) this.#ports.acknowledged();
    this.#ports.network.send({
      sequence,
      acknowledgement: hasAck ? receiver.next : 0,
      flags,
      window: receiver.offerWindow(),
      options,
      payloadBytes,
      mss: sender.mss,
      copyPayload: (target, at) => sender.queue.copy(offset, payloadBytes, target, at),
    });
  }
}
