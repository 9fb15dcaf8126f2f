/**
 * One TCP connection towards a guest: the state machine of RFC 9293, 3.3.2 and
 * 3.10.7, over `TcpSender` and `TcpReceiver`. Knows nothing of hosts and sockets.
 */
import { SECOND_NANOS, type StackTimer } from '../timers.ts';
import { seqAdd, seqDistance, TCP_FLAG, type TcpOptions, type TcpSegment } from '../wire/tcp.ts';
import { Acknowledger } from './acknowledger.ts';
import { KeepAlive } from './keep-alive.ts';
import { TcpOutput } from './output.ts';
import type { TcpConfig, TcpEnd, TcpEvents, TcpNetwork } from './port.ts';
import { TcpReceiver } from './receiver.ts';
import { TcpSender } from './sender.ts';

export type TcpState =
  | 'waiting' // a SYN came, and whoever uses the connection has not said yet whether it is accepted
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait'
  | 'closed';

/** Twice the longest life of a segment; on a link inside one machine that is short. */
const TIME_WAIT_NANOS = 2 * SECOND_NANOS;
/** Timeouts in a row without a word from the peer. */
const SILENT_TIMEOUTS_MAX = 9;
const SYN_RETRIES = 6;
/** RFC 9293, 3.7.1. */
const DEFAULT_MSS = 536;
const MSS_MIN = 64;

export class TcpConnection {
  #state: TcpState;
  readonly #network: TcpNetwork;
  readonly #events: TcpEvents;
  readonly #config: TcpConfig;
  readonly #output: TcpOutput;
  readonly #sender: TcpSender;
  #receiver: TcpReceiver;
  /** What the peer's SYN said. */
  #peerOptions: TcpOptions = {};
  /** Shift of the windows the peer sends. */
  #peerScale = 0;
  #silentTimeouts = 0;
  #isEndWanted = false;
  readonly #retransmit: StackTimer;
  readonly #timeWait: StackTimer;
  readonly #acknowledger: Acknowledger;
  readonly #keepAlive: KeepAlive;

  constructor(network: TcpNetwork, events: TcpEvents, config: TcpConfig, peerSyn?: TcpSegment) {
    this.#network = network;
    this.#events = events;
    this.#config = config;
    const { timers } = network;
    this.#output = new TcpOutput({
      network,
      config,
      sender: () => this.#sender,
      receiver: () => this.#receiver,
      peerOptions: () => this.#peerOptions,
      acknowledged: () => this.#acknowledger.sent(),
    });
    this.#sender = new TcpSender(
      {
        nowNanos: () => timers.nowNanos(),
        canSend: () => network.canSend(),
        payloadMax: (mss) => network.payloadMax(mss),
        emit: (sequence, offset, count, hasFin) => this.#output.data(sequence, offset, count, hasFin),
      },
      config.initialSequence,
      DEFAULT_MSS,
    );
    this.#receiver = this.#makeReceiver(0);
    this.#retransmit = timers.create(() => this.#onRetransmitTimeout());
    this.#timeWait = timers.create(() => this.#finish('done'));
    this.#acknowledger = new Acknowledger(timers, config.mss, () => this.#output.acknowledge());
    this.#keepAlive = new KeepAlive(timers, config.keepAliveNanos, {
      probe: () => this.#output.probe(),
      vanished: () => {
        this.#sendReset();
        this.#finish('timeout');
      },
    });
    this.#state = peerSyn === undefined ? 'syn-sent' : 'waiting';
    if (peerSyn === undefined) this.#sendSyn();
    else this.#takeSyn(peerSyn);
  }

  get state(): TcpState {
    return this.#state;
  }

  /** Written and not yet acknowledged by the peer. */
  get queuedBytes(): number {
    return this.#sender.queue.length;
  }

  /** Bytes held in both directions. */
  get heldBytes(): number {
    return this.#sender.queue.length + this.#receiver.heldBytes;
  }

  /** Answers the peer's SYN. */
  accept(): void {
    if (this.#state !== 'waiting') return;
    this.#state = 'syn-received';
    this.#sendSyn();
  }

  /** Queues bytes, which are copied. */
  write(bytes: Uint8Array): void {
    if (this.#state === 'closed' || this.#isEndWanted) return;
    this.#sender.queue.push(bytes);
    this.#pump();
  }

  /** No more writes: FIN follows what is queued. */
  end(): void {
    if (this.#isEndWanted || this.#state === 'closed') return;
    this.#isEndWanted = true;
    if (this.#state === 'established' || this.#state === 'close-wait') this.#beginEnd();
  }

  /** Ends at once; the peer is told with RST. */
  abort(): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'time-wait') this.#sendReset();
    this.#stop();
  }

  /** The user has got rid of so many of the bytes it was given. */
  consumed(byteCount: number): void {
    this.#receiver.unconsumedBytes -= byteCount;
    this.windowMayGrow();
  }

  /** Memory has become free, here or elsewhere. */
  windowMayGrow(): void {
    const isReceiving = ['established', 'fin-wait-1', 'fin-wait-2'].includes(this.#state);
    if (isReceiving && this.#receiver.isWindowWorthTelling(this.#config.mss)) this.#output.acknowledge();
  }

  /** For the network: there is room for data again. */
  roomAgain(): void {
    this.#pump();
  }

  /** Takes a segment that came for this connection. */
  receive(segment: TcpSegment): void {
    this.#keepAlive.heard();
    switch (this.#state) {
      case 'closed':
        return;
      case 'waiting':
        this.#receiveWaiting(segment);
        return;
      case 'syn-sent':
        this.#receiveSynSent(segment);
        return;
      default:
        this.#receiveSynchronized(segment);
    }
    if (!this.#isClosed) this.#acknowledger.settle();
  }

  /** True when a SYN may take the place of this connection, which has ended (RFC 9293, 3.10.7.4). */
  canBeReplacedBy({ flags, sequence }: TcpSegment): boolean {
    const isSyn = (flags & (TCP_FLAG.syn | TCP_FLAG.ack | TCP_FLAG.rst)) === TCP_FLAG.syn;
    return isSyn && this.#state === 'time-wait' && seqDistance(sequence, this.#receiver.next) > 0;
  }

  #makeReceiver(next: number): TcpReceiver {
    const { receiveMaxBytes, memoryRoom } = this.#config;
    return new TcpReceiver(next, receiveMaxBytes, memoryRoom ?? (() => receiveMaxBytes));
  }

  #takeSyn(syn: TcpSegment): void {
    this.#peerOptions = syn.options;
    this.#receiver = this.#makeReceiver(seqAdd(syn.sequence, 1));
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.#sender.setWindow(syn.sequence, syn.acknowledgement, syn.window);
  }

  /** A SYN again is the peer's retransmission; a RST means that it gave up. */
  #receiveWaiting({ flags }: TcpSegment): void {
    if ((flags & TCP_FLAG.rst) !== 0) this.#finish('reset');
  }

  #receiveSynSent(segment: TcpSegment): void {
    const { flags, acknowledgement } = segment;
    const isAckGood = (flags & TCP_FLAG.ack) !== 0 && acknowledgement === this.#sender.next;
    if ((flags & TCP_FLAG.rst) !== 0) {
      if (isAckGood) this.#finish('reset');
      return;
    }
    if ((flags & TCP_FLAG.ack) !== 0 && !isAckGood) {
      this.#sendReset(acknowledgement);
      return;
    }
    if ((flags & TCP_FLAG.syn) === 0) return;
    this.#takeSyn(segment);
    if (!isAckGood) {
      this.#state = 'syn-received'; // both opened at once
      this.#sendSyn();
      return;
    }
    this.#establish(segment);
    this.#output.acknowledge();
  }

  #receiveSynchronized(segment: TcpSegment): void {
    const { sequence, flags, payload } = segment;
    const length = payload.length + ((flags & TCP_FLAG.fin) !== 0 ? 1 : 0) + ((flags & TCP_FLAG.syn) !== 0 ? 1 : 0);
    if (!this.#receiver.isAcceptable(sequence, length)) {
      this.#receiveUnacceptable(segment);
      return;
    }
    if ((flags & TCP_FLAG.rst) !== 0) {
      // Only the exact number ends it (RFC 5961, 3.2); a guess gets an acknowledgement.
      if (sequence === this.#receiver.next) this.#finish('reset');
      else this.#acknowledger.due();
      return;
    }
    if ((flags & TCP_FLAG.syn) !== 0) {
      this.#acknowledger.due(); // RFC 5961, 4.2
      return;
    }
    if ((flags & TCP_FLAG.ack) === 0 || !this.#takeAck(segment)) return;
    this.#takeData(segment);
    this.#pump();
  }

  /** Old or beyond the window: answered, but what it acknowledges still counts when it is not older than the window. */
  #receiveUnacceptable(segment: TcpSegment): void {
    const { flags, sequence, payload } = segment;
    if ((flags & TCP_FLAG.rst) !== 0) return;
    if (this.#state === 'syn-received' && (flags & TCP_FLAG.syn) !== 0) {
      this.#sendSyn();
      return;
    }
    this.#acknowledger.due();
    // A peer with a full window of ours goes on acknowledging us.
    const isBeyond = seqDistance(sequence, this.#receiver.next) >= 0 || payload.length > 0;
    const isPlainAck = (flags & (TCP_FLAG.ack | TCP_FLAG.syn)) === TCP_FLAG.ack;
    if (isBeyond && isPlainAck && this.#state !== 'syn-received' && this.#takeAck(segment)) this.#pump();
  }

  /** False when the segment is to be taken no further. */
  #takeAck(segment: TcpSegment): boolean {
    const sender = this.#sender;
    const { acknowledgement, sequence } = segment;
    if (this.#state === 'syn-received') {
      if (acknowledgement !== sender.next) {
        this.#sendReset(acknowledgement);
        return false;
      }
      this.#establish(segment);
      return !this.#isClosed;
    }
    if (seqDistance(acknowledgement, sender.max) > 0) {
      this.#acknowledger.due();
      return false;
    }
    this.#silentTimeouts = 0;
    const window = segment.window << this.#peerScale;
    const ahead = seqDistance(acknowledgement, sender.una);
    const isFinAcknowledged = ahead > 0 && sender.acknowledge(acknowledgement);
    const isWindowChanged = ahead >= 0 && sender.updateWindow(sequence, acknowledgement, window);
    if (ahead === 0 && !isWindowChanged && segment.payload.length === 0 && (segment.flags & TCP_FLAG.fin) === 0) {
      sender.duplicateAcknowledge();
    }
    if (ahead > 0) {
      this.#retransmit.stop();
      this.#events.acknowledged();
    }
    if (isFinAcknowledged) this.#onFinAcknowledged();
    return !this.#isClosed;
  }

  get #isClosed(): boolean {
    return this.#state === 'closed';
  }

  #onFinAcknowledged(): void {
    if (this.#state === 'fin-wait-1') this.#state = 'fin-wait-2';
    else if (this.#state === 'closing') this.#waitTime();
    else if (this.#state === 'last-ack') this.#finish('done');
  }

  #takeData({ sequence, payload, flags }: TcpSegment): void {
    const hasFin = (flags & TCP_FLAG.fin) !== 0;
    if (payload.length === 0 && !hasFin) return;
    if (!['established', 'fin-wait-1', 'fin-wait-2'].includes(this.#state)) {
      this.#acknowledger.due(); // after the peer's FIN there is nothing new
      return;
    }
    const [before, hadEarly] = [this.#receiver.next, this.#receiver.hasEarly];
    const { chunks, isEnded } = this.#receiver.take(sequence, payload, hasFin);
    this.#acknowledger.took(seqDistance(this.#receiver.next, before));
    // Out of order, a filled hole and the end are told at once (RFC 5681, 4.2).
    if (before !== sequence || hadEarly || this.#receiver.hasEarly || isEnded) this.#acknowledger.due();
    for (const chunk of chunks) if (!this.#isClosed) this.#events.data(chunk);
    if (isEnded && !this.#isClosed) this.#onPeerEnded();
  }

  #onPeerEnded(): void {
    if (this.#state === 'established') this.#state = 'close-wait';
    else if (this.#state === 'fin-wait-1') this.#state = 'closing';
    else if (this.#state === 'fin-wait-2') this.#waitTime();
    this.#events.ended();
  }

  #establish({ sequence, acknowledgement, window, options, flags }: TcpSegment): void {
    const { windowScale } = this.#peerOptions;
    const mss = Math.max(MSS_MIN, Math.min(this.#peerOptions.mss ?? DEFAULT_MSS, this.#config.mss));
    this.#receiver.scale = windowScale === undefined ? 0 : this.#output.windowScale;
    this.#peerScale = windowScale ?? 0;
    this.#sender.begin(mss);
    const isSyn = (flags & TCP_FLAG.syn) !== 0;
    this.#sender.setWindow(sequence, acknowledgement, isSyn ? window : window << this.#peerScale);
    if (isSyn) this.#peerOptions = options;
    this.#retransmit.stop();
    this.#silentTimeouts = 0;
    this.#state = 'established';
    this.#keepAlive.start();
    this.#events.established();
    if (this.#isEndWanted && !this.#isClosed) this.#beginEnd();
    this.#pump();
  }

  #beginEnd(): void {
    this.#sender.isEnding = true;
    this.#state = this.#state === 'established' ? 'fin-wait-1' : 'last-ack';
    this.#pump();
  }

  #pump(): void {
    if (['waiting', 'syn-sent', 'syn-received', 'closed', 'time-wait'].includes(this.#state)) return;
    if (!this.#sender.pump()) this.#network.waitForRoom(this);
    const isBusy = this.#sender.isBusy && (this.#sender.queue.length > 0 || this.#sender.inFlight > 0);
    if (!isBusy) this.#retransmit.stop();
    else if (!this.#retransmit.isRunning) this.#retransmit.start(this.#sender.roundTrip.timeoutNanos);
  }

  #onRetransmitTimeout(): void {
    if (!this.#network.canSend()) {
      this.#retransmit.start(this.#sender.roundTrip.timeoutNanos); // the peer cannot hear us: that is not its silence
      return;
    }
    this.#silentTimeouts++;
    const isOpening = this.#state === 'syn-sent' || this.#state === 'syn-received';
    if (this.#silentTimeouts > (isOpening ? SYN_RETRIES : SILENT_TIMEOUTS_MAX)) {
      this.#sendReset();
      this.#finish('timeout');
      return;
    }
    if (isOpening) {
      this.#sender.roundTrip.backOff();
      this.#sendSyn();
      return;
    }
    this.#sender.timeout();
    this.#retransmit.start(this.#sender.roundTrip.timeoutNanos);
    this.#pump();
  }

  #waitTime(): void {
    this.#state = 'time-wait';
    this.#retransmit.stop();
    this.#keepAlive.stop();
    this.#timeWait.start(TIME_WAIT_NANOS);
  }

  #finish(end: TcpEnd): void {
    this.#stop();
    this.#events.closed(end);
  }

  #stop(): void {
    this.#state = 'closed';
    this.#sender.queue.drop(this.#sender.queue.length);
    this.#acknowledger.sent();
    for (const timer of [this.#retransmit, this.#timeWait, this.#keepAlive]) timer.stop();
  }

  #sendSyn(): void {
    this.#output.synchronize(this.#state === 'syn-received');
    this.#retransmit.start(this.#sender.roundTrip.timeoutNanos);
  }

  /** @param sequence what the peer said it expects, when it answered something we never sent */
  #sendReset(sequence?: number): void {
    const knowsUs = this.#state !== 'syn-sent' || sequence !== undefined;
    if (knowsUs) this.#output.reset(sequence);
  }
}
