/** What network cards are plugged into: the user-mode network on the host's sockets. */
import { randomBytes } from 'node:crypto';
import type { Clock, HostResolver } from '../contract/index.ts';
import { nodeFolder, nodeResolver, nodeSockets } from '../host/node/index.ts';
import type { Network, NetworkOptions } from '../machine/index.ts';
import { createUserNet, impairLink, parseUserNetText, Timers } from '../net/index.ts';

/** @throws UserError when an option is wrong or a port of the host is taken */
export async function openNetwork(
  { hostForwards = [], restrict, userOptions = '', lossPercent = 0 }: NetworkOptions,
  clock: Clock,
  resolver: HostResolver = nodeResolver(),
): Promise<Network> {
  const text = parseUserNetText(userOptions);
  const network = createUserNet(
    { ...text.options, restrict: restrict ?? text.options.restrict },
    {
      clock,
      sockets: nodeSockets,
      resolver,
      random: () => randomBytes(4).readUInt32LE(),
      tftpFolder: text.tftp === undefined ? undefined : nodeFolder(text.tftp),
    },
  );
  try {
    for (const rule of [...hostForwards, ...text.hostForwards]) await network.addHostForward(rule);
    for (const rule of text.guestForwards) network.addGuestForward(rule);
    if (lossPercent === 0) return network;
    const ports = { timers: new Timers(clock), random: Math.random };
    const link = impairLink(network.link, { lossRatio: lossPercent / 100 }, ports);
    return { link, close: () => network.close() };
  } catch (error) {
    network.close();
    throw error;
  }
}
