/** What a machine's devices lead to outside: disks, networks, shared folders; opened together and closed together. */
import type { Clock, SharedNode } from '../contract/index.ts';
import { openVsockHost, type VsockHost } from '../hw/index.ts';
import type { MachineEvent } from './commands.ts';
import type { DiskOptions, MachineConfig } from './config.ts';
import { type OwnedDisk, openGraphDisk, openOwnedDisk } from './owned-disk.ts';
import type { BlockService, MachineBackends, Network } from './parts.ts';

interface Tellable {
  readonly backends: MachineBackends;
  tell?(event: MachineEvent): void;
}

export interface Attached {
  readonly disks: OwnedDisk[];
  readonly networks: Network[];
  readonly shares: SharedNode[];
  vsock?: VsockHost;
  block?: BlockService;
  /** Of each disk. */
  readonly hooks: ChangeHook[];
}

/** What is to be done when a disk has another size or medium. */
export interface ChangeHook {
  onChange?: () => void;
}

/** All or none: when one cannot be opened, the others are closed again. */
export async function openBackends(
  { disks, networks, shares, vsock, block, isIncoming }: MachineConfig,
  clock: Clock,
  { backends, tell }: Tellable,
): Promise<Attached> {
  const opened: Attached = { disks: [], networks: [], shares: [], hooks: [] };
  try {
    if (block !== undefined)
      opened.block = await backends.openBlock?.({ ...block, isElsewhere: isIncoming }, (name, data) =>
        tell?.({ kind: 'block', name, data }),
      );
    for (const disk of disks) {
      const hook: ChangeHook = {};
      opened.disks.push(await openDisk(disk, backends, opened.block, hook, isIncoming));
      opened.hooks.push(hook);
    }
    for (const network of networks) opened.networks.push(await backends.openNetwork(network, clock));
    for (const share of shares) opened.shares.push(await backends.openShare(share));
    if (vsock !== undefined) opened.vsock = await openVsockHost(vsock.path, backends.sockets);
    return opened;
  } catch (error) {
    await closeBackends(opened);
    throw error;
  }
}

export async function openDisk(
  disk: DiskOptions,
  backends: MachineBackends,
  block: BlockService | undefined,
  hook: ChangeHook,
  isElsewhere: boolean,
): Promise<OwnedDisk> {
  if (disk.node === undefined) return openOwnedDisk(disk, backends, isElsewhere);
  return openGraphDisk(disk, disk.node, block, () => hook.onChange?.());
}

export async function closeBackends({ disks, networks, shares, vsock, block }: Attached): Promise<void> {
  vsock?.close();
  for (const share of shares) share.close();
  for (const network of networks) network.close();
  await Promise.all(disks.map((disk) => disk.close()));
  await block?.close();
}
