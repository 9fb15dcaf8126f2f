/** The way to a link's receiver: frames go at once while it takes them, a bounded number waits while it does not. */
import type { NetOffloads, NetReceiver, UnfinishedFrame } from '../../contract/index.ts';

const QUEUE_MAX = 512;
export const NO_OFFLOADS: NetOffloads = { checksum: false, tcp4: false, tcp6: false };

export interface RoomWaiter {
  roomAgain(): void;
}

export class FrameQueue {
  #receiver: NetReceiver | undefined;
  readonly #queue: { readonly frame: Uint8Array; readonly unfinished: UnfinishedFrame | undefined }[] = [];
  readonly #waiters = new Set<RoomWaiter>();
  sentFrames = 0;
  droppedFrames = 0;

  connect(receiver: NetReceiver): void {
    this.#receiver = receiver;
    this.resume();
  }

  carrierChanged(isUp: boolean): void {
    this.#receiver?.carrierChanged?.(isUp);
  }

  get takes(): NetOffloads {
    return this.#receiver?.takes ?? NO_OFFLOADS;
  }

  get waitingFrames(): number {
    return this.#queue.length;
  }

  /** Whether a frame would go at once, as far as is known. Senders that can wait do. */
  canSend(): boolean {
    return this.#queue.length === 0 && this.#receiver !== undefined;
  }

  waitForRoom(waiter: RoomWaiter): void {
    this.#waiters.add(waiter);
  }

  /** The frame belongs to the output from now on. */
  send(frame: Uint8Array, unfinished?: UnfinishedFrame): void {
    if (this.canSend() && this.#receiver!.receive(frame, unfinished)) {
      this.sentFrames++;
      return;
    }
    if (this.#queue.length < QUEUE_MAX) this.#queue.push({ frame, unfinished });
    else this.droppedFrames++;
  }

  resume(): void {
    let sent = 0;
    while (sent < this.#queue.length) {
      const { frame, unfinished } = this.#queue[sent];
      if (this.#receiver?.receive(frame, unfinished) !== true) break;
      sent++;
    }
    this.#queue.splice(0, sent);
    this.sentFrames += sent;
    // Each that still finds no room enters the set again, at its end.
    for (const waiter of [...this.#waiters]) {
      if (!this.canSend()) return;
      this.#waiters.delete(waiter);
      waiter.roomAgain();
    }
  }
}
