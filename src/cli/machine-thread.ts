/** What a machine's thread runs: one machine on the software CPU. */
import { randomFillSync } from 'node:crypto';
import { createTcg } from '../accel/index.ts';
import type { ThreadContext } from '../contract/index.ts';
import { openSharedFolder } from '../host/node/index.ts';
import { serveMachine } from '../machine/index.ts';
import { openDisk } from './open-disk.ts';
import { openNetwork } from './open-network.ts';

export function serve(context: ThreadContext): void {
  serveMachine(context, createTcg, {
    openDisk,
    openNetwork,
    openShare: async ({ folder }) => openSharedFolder(folder),
    fillRandom: (target) => randomFillSync(target),
  });
}
