/** Makes a link worse, for tests and for people who want to see what their programs do then. */
import { UserError } from '../../base/index.ts';
import type { NetLink } from '../../contract/index.ts';
import { SECOND_NANOS, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import { FrameQueue, NO_OFFLOADS } from './frame-queue.ts';

export interface Impairment {
  /** 0 to 1: how many frames are lost, or come twice. */
  readonly lossRatio?: number;
  readonly duplicateRatio?: number;
  readonly delayNanos?: number;
  /** Up to so much more, by chance: frames overtake each other. */
  readonly jitterNanos?: number;
  readonly bitsPerSecond?: number;
  /** What waits for its turn or its time; more is lost. */
  readonly queueMaxBytes?: number;
}

export interface ImpairPorts {
  readonly timers: Timers;
  /** From 0 up to 1. */
  random(): number;
}

const QUEUE_MAX_BYTES = 4 * 1024 * 1024;

/**
 * A link through which each direction suffers on its own. Frames are finished
 * before it, so that what is lost is what a wire would lose.
 * @throws UserError for values that cannot be
 */
export function impairLink(next: NetLink, impairment: Impairment, ports: ImpairPorts): NetLink {
  checkImpairment(impairment);
  const inwards = new FrameQueue();
  const out = lane(impairment, ports, (frame) => next.send(frame));
  const back = lane(impairment, ports, (frame) => inwards.send(frame));
  return {
    takes: NO_OFFLOADS,
    send: out,
    connect(receiver) {
      inwards.connect(receiver);
      next.connect({
        takes: NO_OFFLOADS,
        receive(frame) {
          back(frame);
          return true;
        },
        carrierChanged: (isUp) => receiver.carrierChanged?.(isUp),
      });
    },
    resume: () => inwards.resume(),
  };
}

/** One direction. */
function lane(impairment: Impairment, { timers, random }: ImpairPorts, deliver: (frame: Uint8Array) => void) {
  const { lossRatio = 0, duplicateRatio = 0, delayNanos = 0, jitterNanos = 0 } = impairment;
  const { bitsPerSecond = Number.POSITIVE_INFINITY, queueMaxBytes = QUEUE_MAX_BYTES } = impairment;
  let [freeAtNanos, queuedBytes] = [0, 0];
  const pass = (frame: Uint8Array) => {
    if (queuedBytes + frame.length > queueMaxBytes) return;
    const now = timers.nowNanos();
    freeAtNanos = Math.max(now, freeAtNanos) + ((frame.length * 8) / bitsPerSecond) * SECOND_NANOS;
    const waitNanos = freeAtNanos - now + delayNanos + jitterNanos * random();
    queuedBytes += frame.length;
    const copy = copyOf(frame);
    const timer = timers.create(() => {
      queuedBytes -= copy.length;
      deliver(copy);
    });
    timer.start(waitNanos);
  };
  return (frame: Uint8Array) => {
    if (random() < lossRatio) return;
    pass(frame);
    if (random() < duplicateRatio) pass(frame);
  };
}

function checkImpairment(impairment: Impairment): void {
  const { lossRatio = 0, duplicateRatio = 0, delayNanos = 0, jitterNanos = 0, bitsPerSecond = 1 } = impairment;
  for (const [name, value] of Object.entries({ lossRatio, duplicateRatio })) {
    if (!(value >= 0 && value <= 1)) throw new UserError(`network filter: ${name} ${value} must be from 0 to 1`);
  }
  for (const [name, value] of Object.entries({ delayNanos, jitterNanos })) {
    if (!(value >= 0)) throw new UserError(`network filter: ${name} ${value} must not be negative`);
  }
  if (!(bitsPerSecond > 0)) throw new UserError(`network filter: bitsPerSecond ${bitsPerSecond} must be more than 0`);
}
