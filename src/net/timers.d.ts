/** Many timers over one of a clock's: a binary heap by deadline, so that thousands of connections cost nothing at rest. */
import type { Clock } from '../contract/index.ts';
export declare const MILLISECOND_NANOS = 1000000;
export declare const SECOND_NANOS = 1000000000;
/** A timer as the stack uses it: armed for a time from now. */
export interface StackTimer {
    start(delayNanos: number): void;
    stop(): void;
    readonly isRunning: boolean;
}
/** A clock whose timers are cheap to make and need no disposal: a stopped one is forgotten. */
export declare class Timers {
    #private;
    constructor(clock: Clock);
    nowNanos(): number;
    create(onExpire: () => void): StackTimer;
    stopAll(): void;
    /** How many are running. */
    get runningCount(): number;
    /** For `HeapTimer`: puts it where its deadline belongs, in or into the heap. */
    place(timer: HeapTimer): void;
    remove(timer: HeapTimer): void;
}
declare class HeapTimer implements StackTimer {
    #private;
    deadlineNanos: number;
    /** In the heap, or -1. */
    index: number;
    /** Taken out of the heap to be called in this round. */
    isDue: boolean;
    constructor(timers: Timers, onExpire: () => void);
    get isRunning(): boolean;
    start(delayNanos: number): void;
    stop(): void;
    expire(): void;
}
export {};
