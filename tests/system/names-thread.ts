/** A machine's thread whose networks find names as the files and the server in this module's URL say. */
import { randomFillSync } from 'node:crypto';
import { createAccelerator } from '../../src/cli/create-accelerator.ts';
import { openDisk } from '../../src/cli/open-disk.ts';
import { openNetwork } from '../../src/cli/open-network.ts';
import type { ThreadContext } from '../../src/contract/index.ts';
import { nodeResolver, nodeSockets, openSharedFolder } from '../../src/host/node/index.ts';
import { serveMachine } from '../../src/machine/index.ts';

export function serve(context: ThreadContext): void {
  const { searchParams } = new URL(import.meta.url);
  const files = nodeResolver({ resolvConf: searchParams.get('resolvConf')!, hosts: searchParams.get('hosts')! });
  const port = Number(searchParams.get('port'));
  const resolver = { ...files, servers: () => files.servers().map((server) => ({ ...server, port })) };
  serveMachine(context, createAccelerator, {
    openDisk,
    openNetwork: (options, clock) => openNetwork(options, clock, resolver),
    openShare: async ({ folder }) => openSharedFolder(folder),
    sockets: nodeSockets,
    fillRandom: (target) => randomFillSync(target),
  });
}
