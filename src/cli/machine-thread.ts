/** What a machine's thread runs: one machine. */
import { randomFillSync } from 'node:crypto';
import type { ThreadContext } from '../contract/index.ts';
import { nodeDiscard, nodeSockets } from '../host/node/machine.ts';
import { serveMachine } from '../machine/index.ts';
import { createAccelerator } from './create-accelerator.ts';

export function serve(context: ThreadContext): void {
  serveMachine(context, createAccelerator, {
    // What opens disks, networks and folders is loaded where there are some: it takes a third of a start.
    openDisk: async (disk, how) => (await import('./open-disk.ts')).openDisk(disk, how),
    // Only machines of the emulator have one.
    openBlock: async (options, tell) => (await import('./drivers/graph.ts')).openBlockService(options, tell),
    openNetwork: async (network, clock) => (await import('./open-network.ts')).openNetwork(network, clock),
    openShare: async ({ folder }) => (await import('../host/node/index.ts')).openSharedFolder(folder),
    sockets: nodeSockets,
    discard: nodeDiscard(),
    fillRandom: (target) => randomFillSync(target),
  });
}
