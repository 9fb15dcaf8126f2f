/** Device models alone: a driver in this process hands the same buffers to a device again and again, without a guest CPU. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { BlockNode, NetLink } from '../../src/contract/index.ts';
import { openFileNode, openSharedFolder } from '../../src/host/node/index.ts';
import { type VirtioDevice, virtio9p, virtioBlk, virtioNet } from '../../src/hw/index.ts';
import { COMMON, LINUX, NO_FID } from '../../src/hw/virtio/9p/messages.ts';
import { encodeMessage } from '../../src/hw/virtio/testing/9p-client.ts';
import { rig } from '../../src/hw/virtio/testing/rig.ts';

export interface DeviceResult {
  readonly name: string;
  readonly perSecond: number;
  /** CPU time of the whole process, which the load of the host does not change much. */
  readonly cpuMicrosEach: number;
}

const BATCH = 16;
const NONE = { checksum: false, tcp4: false, tcp6: false };

/** Keeps `BATCH` chains going round for `seconds`; returns how many were completed a second. */
async function roundTrips(
  device: VirtioDevice,
  queueIndex: number,
  chain: { readable: readonly Uint8Array[]; writable: readonly number[] },
  seconds: number,
  prepare: readonly (typeof chain)[] = [],
): Promise<Omit<DeviceResult, 'name'>> {
  const { driver: makeDriver } = rig(device);
  const driver = makeDriver({ queueSize: 128 }).start(queueIndex + 1);
  const queue = driver.queues[queueIndex];
  for (const { readable, writable } of prepare) queue.send(readable, writable);
  const heads = Array.from({ length: BATCH }, () => queue.add(chain.readable, chain.writable).id);
  const used = () => queue.deviceArea.getUint16(2, true);
  let available = queue.driverArea.getUint16(2, true);
  queue.notify();
  const start = performance.now();
  const startUsage = process.cpuUsage();
  let rounds = 0;
  for (; performance.now() - start < seconds * 1000; rounds++) {
    while (used() !== available) await setImmediate();
    for (const head of heads) {
      queue.driverArea.setUint16(4 + 2 * (available % queue.size), head, true);
      available = (available + 1) & 0xffff;
    }
    queue.driverArea.setUint16(2, available, true);
    queue.notify();
  }
  while (used() !== available) await setImmediate();
  if (driver.needsReset) throw new Error(`${device.name} wants a reset`);
  const { user, system } = process.cpuUsage(startUsage);
  const count = rounds * BATCH;
  return { perSecond: (count * 1000) / (performance.now() - start), cpuMicrosEach: (user + system) / count };
}

export async function measureDevices(seconds: number): Promise<DeviceResult[]> {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
  const results: DeviceResult[] = [];
  const add = async (name: string, work: Promise<Omit<DeviceResult, 'name'>>) => {
    results.push({ name, ...(await work) });
  };
  try {
    const header = (type: number) => new Uint8Array(Uint32Array.of(type, 0, 8, 0).buffer);
    const read4k = { readable: [header(0)], writable: [4096, 1] };
    await add(
      'virtio-blk, 4 KiB reads from memory',
      roundTrips(virtioBlk({ name: 'd', node: memoryNode() }), 0, read4k, seconds),
    );
    const path = join(folder, 'disk');
    await writeFile(path, new Uint8Array(2 ** 20));
    for (const io of ['threads', 'blocking', 'cached'] as const) {
      const node = openFileNode(path, { io });
      await add(
        `virtio-blk, 4 KiB reads from a file, ${io}`,
        roundTrips(virtioBlk({ name: 'd', node }), 0, read4k, seconds),
      );
      await node.close();
    }
    const link: NetLink = { takes: NONE, send() {}, connect() {}, resume() {} };
    const mac = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
    const frame = { readable: [new Uint8Array(12), new Uint8Array(1514)], writable: [] };
    await add(
      'virtio-net, frames of 1514 bytes out',
      roundTrips(virtioNet({ name: 'n', link, mac }), 1, frame, seconds),
    );
    await writeFile(join(folder, 'file'), new Uint8Array(2 ** 20));
    const share = virtio9p({ name: 's', root: openSharedFolder(folder), tag: 's' });
    const { version, attach, walk, read } = COMMON;
    const ask = (bytes: Uint8Array, room = 200) => ({ readable: [bytes], writable: [room] });
    const user = { authFid: NO_FID, userName: '', tree: '', uid: 0 };
    const prepare = [
      ask(encodeMessage(version.type, version.request, { messageBytes: 131_072, version: '9P2000.L' }, 0xffff)),
      ask(encodeMessage(attach.type, attach.request, { fid: 0, ...user })),
      ask(encodeMessage(walk.type, walk.request, { fid: 0, newFid: 1, names: ['file'] })),
      ask(encodeMessage(LINUX.lopen.type, LINUX.lopen.request, { fid: 1, flags: 0 })),
    ];
    const getattr = encodeMessage(LINUX.getattr.type, LINUX.getattr.request, { fid: 1, mask: 0x7ffn });
    await add('virtio-9p, Tgetattr', roundTrips(share, 0, ask(getattr), seconds, prepare));
    const tread = encodeMessage(read.type, read.request, { fid: 1, offset: 0n, count: 65_536 });
    await add('virtio-9p, Tread of 64 KiB', roundTrips(share, 0, ask(tread, 65_547), seconds, prepare));
    share.close();
  } finally {
    await rm(folder, { recursive: true });
  }
  return results;
}

function memoryNode(): BlockNode {
  const bytes = new Uint8Array(2 ** 20);
  return {
    sizeBytes: bytes.length,
    readOnly: false,
    limits: { alignmentBytes: 1, preferredBytes: 4096 },
    read: async (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
    write: async (offset, source) => bytes.set(source, offset),
    flush: async () => {},
    extents: async (offset, length) => [{ offset, length, allocated: true, zero: false, data: true }],
    close: async () => {},
  };
}
