/** The entropy device: VIRTIO 1.2, section 5.4. */
import { FEATURE } from './constants.ts';
import type { VirtioDevice } from './device.ts';

const QUEUE_SIZE = 64;
/** Bytes given for one request, at most; the driver asks again for more. */
const REQUEST_BYTES_MAX = 4096;

export interface RngOptions {
  readonly name: string;
  /** Fills `target` with random bytes fit for keys. */
  readonly fillRandom: (target: Uint8Array<ArrayBuffer>) => void;
}

export function virtioRng({ name, fillRandom }: RngOptions): VirtioDevice {
  return {
    name,
    id: 4,
    pciClass: 0x00_ff_00,
    features: [FEATURE.inOrder],
    queues: [
      {
        maxSize: QUEUE_SIZE,
        onNotify(queue) {
          queue.pump((chain) => {
            if (chain.writableBytes === 0) return queue.fail('a request for entropy without a buffer');
            const bytes = new Uint8Array(Math.min(chain.writableBytes, REQUEST_BYTES_MAX));
            fillRandom(bytes);
            queue.complete(chain, chain.write(0, bytes));
          });
        },
      },
    ],
    attach() {},
    start() {},
    config: () => new Uint8Array(),
    reset() {},
    snapshot: () => ({}),
    restore() {},
  };
}
