export const MILLISECOND_NANOS = 1e6;
export const SECOND_NANOS = 1e9;
/** A clock whose timers are cheap to make and need no disposal: a stopped one is forgotten. */
export class Timers {
    #clock;
    #alarm;
    #heap = [];
    constructor(clock) {
        this.#clock = clock;
        this.#alarm = clock.createTimer(() => this.#expire());
    }
    nowNanos() {
        return this.#clock.nowNanos();
    }
    create(onExpire) {
        return new HeapTimer(this, onExpire);
    }
    stopAll() {
        for (const timer of this.#heap.splice(0))
            timer.index = -1;
        this.#alarm.cancel();
    }
    /** How many are running. */
    get runningCount() {
        return this.#heap.length;
    }
    /** For `HeapTimer`: puts it where its deadline belongs, in or into the heap. */
    place(timer) {
        if (timer.index < 0) {
            timer.index = this.#heap.length;
            this.#heap.push(timer);
        }
        this.#up(timer.index);
        this.#down(timer.index);
        this.#setAlarm();
    }
    remove(timer) {
        const { index } = timer;
        if (index < 0)
            return;
        const last = this.#heap.pop();
        timer.index = -1;
        if (last !== timer) {
            this.#put(last, index);
            this.#up(index);
            this.#down(last.index);
        }
        this.#setAlarm();
    }
    #expire() {
        const now = this.nowNanos();
        // One that starts itself again at once waits for the next alarm.
        const due = [];
        while (this.#heap.length > 0 && this.#heap[0].deadlineNanos <= now) {
            due.push(this.#heap[0]);
            this.remove(this.#heap[0]);
        }
        for (const timer of due)
            timer.isDue = true;
        for (const timer of due)
            if (timer.isDue)
                timer.expire();
        this.#setAlarm();
    }
    #setAlarm() {
        const next = this.#heap[0]?.deadlineNanos;
        const armed = this.#alarm.deadlineNanos;
        if (next === undefined)
            this.#alarm.cancel();
        // An alarm that comes too early finds nothing due and is set again: cheaper than to move it with every packet.
        else if (armed === undefined || next < armed)
            this.#alarm.arm(next);
    }
    #put(timer, index) {
        this.#heap[index] = timer;
        timer.index = index;
    }
    #up(start) {
        const timer = this.#heap[start];
        let index = start;
        while (index > 0) {
            const parent = (index - 1) >> 1;
            if (this.#heap[parent].deadlineNanos <= timer.deadlineNanos)
                break;
            this.#put(this.#heap[parent], index);
            index = parent;
        }
        this.#put(timer, index);
    }
    #down(start) {
        const timer = this.#heap[start];
        let index = start;
        for (;;) {
            let child = index * 2 + 1;
            if (child >= this.#heap.length)
                break;
            const right = child + 1;
            if (right < this.#heap.length && this.#heap[right].deadlineNanos < this.#heap[child].deadlineNanos)
                child = right;
            if (this.#heap[child].deadlineNanos >= timer.deadlineNanos)
                break;
            this.#put(this.#heap[child], index);
            index = child;
        }
        this.#put(timer, index);
    }
}
class HeapTimer {
    deadlineNanos = 0;
    /** In the heap, or -1. */
    index = -1;
    /** Taken out of the heap to be called in this round. */
    isDue = false;
    #timers;
    #onExpire;
    constructor(timers, onExpire) {
        this.#timers = timers;
        this.#onExpire = onExpire;
    }
    get isRunning() {
        return this.index >= 0 || this.isDue;
    }
    start(delayNanos) {
        this.isDue = false;
        this.deadlineNanos = this.#timers.nowNanos() + delayNanos;
        this.#timers.place(this);
    }
    stop() {
        this.isDue = false;
        this.#timers.remove(this);
    }
    expire() {
        this.isDue = false;
        this.#onExpire();
    }
}
