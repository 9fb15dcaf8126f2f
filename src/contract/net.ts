/**
 * The network joint: Ethernet frames between a network card and whatever its
 * cable leads to (user-mode network, switch, socket, tap).
 *
 * A frame goes from the destination address to the end of the payload, without
 * preamble and check sequence. Frames shorter than Ethernet's 60 bytes are legal.
 */

/** What one end takes unfinished in a frame (virtio 1.2, 5.1.3: the CSUM, TSO4 and TSO6 features). */
export interface NetOffloads {
  /** Frames whose TCP or UDP checksum is not computed. Without it, none of the others. */
  readonly checksum: boolean;
  /** TCP over IPv4 in one frame larger than the MTU, to be cut into segments. */
  readonly tcp4: boolean;
  readonly tcp6: boolean;
}

/** What the sender of a frame left to do (virtio 1.2, 5.1.6: struct virtio_net_hdr). */
export interface UnfinishedFrame {
  /** Where the bytes that the checksum covers begin, from the frame's start; they go to its end. */
  readonly checksumStart: number;
  /** Where the checksum goes, from `checksumStart`; what stands there is the pseudo-header's sum. */
  readonly checksumOffset: number;
  /** Into what the frame is to be cut, if it is. */
  readonly segments?: { readonly kind: 'tcp4' | 'tcp6'; readonly payloadBytes: number; readonly headerBytes: number };
}

/** The cable as a network card sees it. */
export interface NetLink {
  /** What frames given to `send` may leave undone; the card offers its guest no more. Never changes. */
  readonly takes: NetOffloads;
  /**
   * Sends a frame outwards. It is borrowed until `send` returns. Never blocks
   * and never throws for what a guest wrote: what cannot be taken is lost, as on a wire.
   */
  send(frame: Uint8Array, unfinished?: UnfinishedFrame): void;
  /** Names who takes incoming frames; a link has one receiver. */
  connect(receiver: NetReceiver): void;
  /** The receiver has room again after `receive` said false; frames may come before this returns. */
  resume(): void;
}

export interface NetReceiver {
  /** What `receive` takes unfinished now; a guest's driver changes it when it negotiates. */
  readonly takes: NetOffloads;
  /**
   * Takes a frame, borrowed until it returns; may be called from within the link's `send`,
   * and does not itself call `send` or `resume` before it returns.
   * False: there was no room, the frame is not taken, and the link waits for `resume`.
   */
  receive(frame: Uint8Array, unfinished?: UnfinishedFrame): boolean;
  /** The carrier came or went; it is there until this says otherwise. */
  carrierChanged?(isUp: boolean): void;
}
