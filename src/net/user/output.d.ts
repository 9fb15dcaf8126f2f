/** The way to the guest: frames go at once while it takes them, a bounded number waits while it does not. */
import type { NetOffloads, NetReceiver, UnfinishedFrame } from '../../contract/index.ts';
export declare const NO_OFFLOADS: NetOffloads;
export interface RoomWaiter {
    roomAgain(): void;
}
export declare class GuestOutput {
    #private;
    sentFrames: number;
    droppedFrames: number;
    connect(receiver: NetReceiver): void;
    get takes(): NetOffloads;
    get waitingFrames(): number;
    /** Whether a frame would go at once, as far as is known. Senders that can wait do. */
    canSend(): boolean;
    waitForRoom(waiter: RoomWaiter): void;
    /** The frame belongs to the output from now on. */
    send(frame: Uint8Array, unfinished?: UnfinishedFrame): void;
    resume(): void;
}
