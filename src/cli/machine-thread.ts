/** What a machine's thread runs: one machine. */
import { randomFillSync } from 'node:crypto';
import type { ThreadContext } from '../contract/index.ts';
import { nodeDiscard, nodeSockets, openSharedFolder } from '../host/node/index.ts';
import { serveMachine } from '../machine/index.ts';
import { createAccelerator } from './create-accelerator.ts';
import { openDisk } from './open-disk.ts';
import { openNetwork } from './open-network.ts';

export function serve(context: ThreadContext): void {
  serveMachine(context, createAccelerator, {
    openDisk,
    // Only machines of the emulator have one.
    openBlock: async (options, tell) => (await import('./drivers/graph.ts')).openBlockService(options, tell),
    openNetwork,
    openShare: async ({ folder }) => openSharedFolder(folder),
    sockets: nodeSockets,
    discard: nodeDiscard(),
    fillRandom: (target) => randomFillSync(target),
  });
}
