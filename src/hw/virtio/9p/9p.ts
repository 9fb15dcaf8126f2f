/** The 9P device: a folder of the host's, shared with the guest (VIRTIO 1.2, 5.9, and 9P2000.L and .u). */
import { UserError } from '../../../base/index.ts';
import type { SharedNode } from '../../../contract/index.ts';
import type { Chain } from '../chain.ts';
import type { VirtioDevice } from '../device.ts';
import type { Virtqueue } from '../queue.ts';
import { HEADER_BYTES } from './messages.ts';
import type { SecurityModelName } from './security.ts';
import { securityModel } from './security-mapped.ts';
import { type Answer, Session } from './session.ts';

const MOUNT_TAG_FEATURE = 0;
const QUEUE_SIZE = 128;
const TAG_BYTES_MAX = 255;
/** Rlerror; Linux's driver leaves no more room than a message's answers need. */
const ANSWER_BYTES_MIN = 11;

export interface ShareOptions {
  readonly name: string;
  /** The folder; the device closes it with `close`. */
  readonly root: SharedNode;
  /** By what name the guest mounts it, in ASCII. */
  readonly tag: string;
  readonly readOnly?: boolean;
  /** Default `none`. */
  readonly security?: SecurityModelName;
  /** Told of work that the host does meanwhile. */
  readonly onWork?: (work: Promise<unknown>) => void;
}

export interface Virtio9p extends VirtioDevice {
  /** Gives up everything that is held. */
  close(): void;
}

export function virtio9p(options: ShareOptions): Virtio9p {
  const { name, root, tag, readOnly = false, security = 'none', onWork = () => {} } = options;
  /** Where messages are copied to, as large as the largest yet. */
  let received = new Uint8Array(0);
  const session = new Session({ root, readOnly, security: securityModel(security) });
  const tagBytes = Uint8Array.from(tag.slice(0, TAG_BYTES_MAX), (character) => character.charCodeAt(0));

  return {
    name,
    id: 9,
    answersOutOfOrder: true,
    pciClass: 0x00_02_00,
    features: [MOUNT_TAG_FEATURE],
    queues: [{ maxSize: QUEUE_SIZE, onNotify: (queue) => queue.pump((chain) => request(queue, chain)) }],
    attach() {},
    start() {},
    config: () => Uint8Array.of(tagBytes.length & 0xff, tagBytes.length >> 8, ...tagBytes),
    reset: () => session.reset(),
    snapshot() {
      // The host's descriptors cannot be taken along.
      if (session.isInUse) throw new UserError(`${name}: the guest has the folder ${tag} mounted; unmount it first`);
      return {};
    },
    restore: () => session.reset(),
    close() {
      session.reset();
      root.close();
    },
  };

  function request(queue: Virtqueue, chain: Chain): void {
    const { readableBytes, writableBytes } = chain;
    if (readableBytes < HEADER_BYTES || readableBytes > session.messageBytes || writableBytes < ANSWER_BYTES_MIN) {
      queue.fail(`a message of ${readableBytes} bytes with room for ${writableBytes}`);
      return;
    }
    if (received.length < readableBytes) received = new Uint8Array(readableBytes);
    const message = received.subarray(0, readableBytes);
    chain.read(0, message);
    const answer = session.answer(message);
    if (answer instanceof Promise) onWork(answer.then((parts) => reply(queue, chain, parts)));
    else reply(queue, chain, answer);
  }

  function reply(queue: Virtqueue, chain: Chain, parts: Answer): void {
    if (!queue.holds(chain)) return;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length > chain.writableBytes) {
      queue.fail(`an answer of ${length} bytes in ${chain.writableBytes}`);
      return;
    }
    let at = 0;
    for (const part of parts) at += chain.write(at, part);
    queue.complete(chain, at);
  }
}
