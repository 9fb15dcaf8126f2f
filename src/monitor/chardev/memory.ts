/** Backends that need no host: one that leads nowhere, and one that keeps the newest output. */
import type { CharBackend } from '../../contract/index.ts';

export function nullBackend(): CharBackend {
  return {
    label: 'null',
    isOpen: true,
    waitingBytes: 0,
    connect() {},
    write() {},
    pause() {},
    resume() {},
    async close() {},
  };
}

export interface RingBackend extends CharBackend {
  /** Takes at most `count` of the oldest bytes. */
  take(count: number): Uint8Array;
}

export function ringBackend(sizeBytes: number): RingBackend {
  const ring = new Uint8Array(sizeBytes);
  let [start, count] = [0, 0];
  return {
    label: 'ringbuf',
    isOpen: true,
    waitingBytes: 0,
    connect() {},
    write(bytes) {
      for (const byte of bytes) {
        ring[(start + count) % sizeBytes] = byte;
        if (count < sizeBytes) count += 1;
        else start = (start + 1) % sizeBytes;
      }
    },
    take(most) {
      const taken = Uint8Array.from({ length: Math.min(most, count) }, (_, index) => ring[(start + index) % sizeBytes]);
      start = (start + taken.length) % sizeBytes;
      count -= taken.length;
      return taken;
    },
    pause() {},
    resume() {},
    async close() {},
  };
}

export function isRing(backend: CharBackend): backend is RingBackend {
  return 'take' in backend;
}
