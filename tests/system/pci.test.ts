/** Debian's kernel on virtio's legacy interface, and on devices behind bridges and root ports. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { MachineOptions, PciPlace } from '../../src/machine/index.ts';
import { runInGuest, tryDefaultGuest } from './guest.ts';

const guest = await tryDefaultGuest('generic');
const skip = typeof guest === 'string' && guest;

/** A device of each kind, where `place` says; the guest finds in each what `WORK` looks for. */
async function devices(context: TestContext, place: (device: string) => PciPlace): Promise<Partial<MachineOptions>> {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const [disk, scsi] = [join(folder, 'disk'), join(folder, 'scsi')];
  for (const file of [disk, scsi]) await writeFile(file, Buffer.concat([randomBytes(2 ** 20), Buffer.alloc(2 ** 20)]));
  await writeFile(join(folder, 'shared'), 'shared file\n');
  return {
    disks: [
      { file: disk, format: 'raw', ...place('disk') },
      { file: scsi, format: 'raw', bus: 'scsi' },
    ],
    networks: [{ kind: 'user', ...place('net') }],
    shares: [{ folder, tag: 'share', readOnly: true, ...place('share') }],
    balloon: place('balloon'),
    rng: place('rng'),
  };
}

async function serve(context: TestContext): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}).end('from the host\n')).listen(0, '127.0.0.1');
  context.after(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const work = (port: number) => `
  for disk in vda sda; do
    dd if=/dev/$disk of=/dev/$disk bs=64k count=16 seek=16 conv=fsync 2>/dev/null
    first=$(head -c 1048576 /dev/$disk | sha256sum)
    echo 3 > /proc/sys/vm/drop_caches
    [ "$(tail -c 1048576 /dev/$disk | sha256sum)" = "$first" ] && echo $disk
  done
  cat /mnt/share/shared
  nc 10.0.2.2 ${port} < /dev/null
  [ $(head -c 64 /dev/hwrng | wc -c) = 64 ] && echo rng
  dmesg | grep -E 'BUG:|Oops|WARNING:|Call Trace|virtio.*fail'`;
const WORKED = 'vda\nsda\nshared file\nfrom the host\nrng\n';

/** Prints the drivers whose devices have not agreed on VIRTIO_F_VERSION_1. */
const LEGACY = `for device in /sys/bus/virtio/devices/*; do
    [ $(cut -c33 $device/features) = 0 ] && basename $(readlink $device/driver)
  done | sort | tr '\\n' ' '; echo`;
const EVERY_DRIVER = '9pnet_virtio virtio_balloon virtio_blk virtio_net virtio_rng virtio_scsi ';

test('the legacy interface of transitional devices', { skip }, async (context) => {
  const machine = { ...(await devices(context, () => ({}))), virtio: 'transitional' } as const;
  const script = LEGACY + work(await serve(context));
  const append = 'virtio_pci.force_legacy=1';
  const { stdout, stderr } = await runInGuest(script, { guestKernel: 'generic', append, machine });
  assert.equal(stdout, `${EVERY_DRIVER}\n${WORKED}`, stderr);
});

const BRIDGES = [
  { kind: 'pcie-root-port', name: 'port0', slot: 20 },
  { kind: 'pcie-root-port', name: 'empty', slot: 21 },
  { kind: 'pci-bridge', name: 'outer', slot: 22 },
  { kind: 'pci-bridge', name: 'inner', behind: 'outer', slot: 7 },
] as const;
const PLACES: Readonly<Record<string, PciPlace>> = {
  net: { behind: 'inner', slot: 9 },
  disk: { behind: 'port0' },
  share: { behind: 'outer', slot: 17 },
};

for (const { title, append, virtio, ids, slots, legacy } of [
  {
    title: 'devices behind root ports and bridges',
    append: '',
    virtio: 'modern',
    ids: { disk: '0x1042', share: '0x1049', net: '0x1041' },
    slots: ['slot 20: 0000:01:00 1', 'slot 21: 0000:02:00 0', '2'],
    legacy: '',
  },
  {
    title: 'the same with the legacy interface alone, and interrupt pins',
    append: 'pci=nomsi',
    virtio: 'legacy',
    ids: { disk: '0x1001', share: '0x1009', net: '0x1000' },
    slots: ['0'], // Linux leaves hot plug alone when it may not use MSI
    legacy: EVERY_DRIVER,
  },
] as const) {
  test(title, { skip }, async (context) => {
    const machine = { ...(await devices(context, (device) => PLACES[device] ?? {})), bridges: BRIDGES, virtio };
    const script = `
      cd /sys/bus/pci/devices
      for device in *; do
        read -r class < $device/class
        if [ $class = 0x060400 ]; then echo "$device is a bridge to $(cat $device/secondary_bus_number)"; continue; fi
        case $device in 0000:00:*) continue;; esac
        echo "$device: $(cat $device/device) $(basename $(readlink $device/driver))"
      done
      for slot in /sys/bus/pci/slots/[0-9]*; do [ -e $slot ] && echo "slot $(basename $slot): $(cat $slot/address) $(cat $slot/adapter)"; done
      grep -c 'PCI-MSI.*pciehp' /proc/interrupts
      cd /
      ${LEGACY}
      ${work(await serve(context))}`;
    const { stdout, stderr } = await runInGuest(script, { guestKernel: 'generic', append, machine });
    assert.equal(
      stdout,
      [
        '0000:00:14.0 is a bridge to 1',
        '0000:00:15.0 is a bridge to 2',
        '0000:00:16.0 is a bridge to 3',
        `0000:01:00.0: ${ids.disk} virtio-pci`,
        '0000:03:07.0 is a bridge to 4',
        `0000:03:11.0: ${ids.share} virtio-pci`,
        `0000:04:09.0: ${ids.net} virtio-pci`,
        ...slots,
        legacy,
        WORKED,
      ].join('\n'),
      stderr,
    );
  });
}
