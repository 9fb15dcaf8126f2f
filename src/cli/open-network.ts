/** What network cards are plugged into: the user-mode network on the host's sockets. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../contract/index.ts';
import { nodeResolver, nodeSockets } from '../host/node/index.ts';
import type { Network, NetworkOptions } from '../machine/index.ts';
import { createUserNet } from '../net/index.ts';

/** @throws UserError when an option is wrong or a port of the host is taken */
export async function openNetwork({ hostForwards = [], restrict }: NetworkOptions, clock: Clock): Promise<Network> {
  const network = createUserNet(
    { restrict },
    { clock, sockets: nodeSockets, resolver: nodeResolver(), random: () => randomBytes(4).readUInt32LE() },
  );
  try {
    for (const rule of hostForwards) await network.addHostForward(rule);
    return network;
  } catch (error) {
    network.close();
    throw error;
  }
}
