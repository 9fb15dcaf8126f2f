/** A network link in a test's hands. */
import type { NetLink, NetOffloads, NetReceiver, UnfinishedFrame } from '../../../contract/index.ts';

const EVERYTHING: NetOffloads = { checksum: true, tcp4: true, tcp6: true };

export class FakeLink implements NetLink {
  readonly takes = EVERYTHING;
  readonly sent: { frame: Uint8Array; unfinished?: UnfinishedFrame }[] = [];
  receiver: NetReceiver | undefined;
  readonly waiting: Uint8Array[] = [];

  send(frame: Uint8Array, unfinished?: UnfinishedFrame): void {
    this.sent.push({ frame: frame.slice(), unfinished });
  }

  connect(receiver: NetReceiver): void {
    this.receiver = receiver;
  }

  /** Offers a frame; keeps it when there is no room. */
  offer(frame: Uint8Array, unfinished?: UnfinishedFrame): boolean {
    const isTaken = this.receiver?.receive(frame, unfinished) ?? false;
    if (!isTaken) this.waiting.push(frame);
    return isTaken;
  }

  resume(): void {
    for (const frame of this.waiting.splice(0)) this.offer(frame);
  }
}
