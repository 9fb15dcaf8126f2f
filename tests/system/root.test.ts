/** Debian's root file system on a virtio disk, a qcow2 image: boots, reboots, power cuts, and drivers that come and go. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createMachine } from '../../src/cli/create-machine.ts';
import { runExec } from '../../src/cli/exec.ts';
import { defaultGuest } from '../../src/host/node/index.ts';
import type { MachineOptions } from '../../src/machine/index.ts';
import { checkRootDisk, rootDisk, skip } from './root-disk.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const COMMAND_LINE = 'console=ttyS0 panic=-1 root=/dev/vda rw';

async function folder(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Boots from the first disk, and waits until the guest powers off. */
async function boot(options: Partial<MachineOptions>): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { kernel, initramfs } = await defaultGuest({ guestKernel: 'generic' });
  await using machine = await createMachine({
    memoryBytes: 512 * 2 ** 20,
    accel: ['tcg'],
    boot: { kernel, initrd: initramfs, commandLine: COMMAND_LINE },
    ...options,
  });
  let [stdout, stderr, console] = ['', '', ''];
  void (async () => {
    for await (const bytes of machine.serial[0].readable) console += Buffer.from(bytes).toString('latin1');
  })();
  const take = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  const exitCode = await runExec(
    machine,
    (bytes) => void (stdout += take(bytes)),
    (bytes) => void (stderr += take(bytes)),
  ).catch((error) => {
    throw new Error(`${stdout}${stderr}${console.slice(-4000)}`, { cause: error });
  });
  return { exitCode, stdout, stderr };
}

/** A server on the host's loopback that gives whoever connects `content`. */
async function serve(context: TestContext, content: Uint8Array): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(content);
  }).listen(0, '127.0.0.1');
  context.after(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

test('root on a qcow2 disk: files outlive a reboot, and the file system is clean after power-off', {
  skip,
}, async (context) => {
  const disk = await rootDisk(
    await folder(context),
    `
    boots=$(($(cat /root/boots 2>/dev/null) + 1)); echo $boots > /root/boots
    echo "boot $boots: $(grep ' / ' /proc/mounts | cut -d' ' -f3,4 | cut -d, -f1), $(ls /sys/block | grep -c vd) disk"
    if [ $boots = 1 ]; then
      mkdir /root/many; cd /root/many
      for ((i = 0; i < 60; i++)); do head -c $((i * 3001)) /dev/urandom > file$i; done
      rm file3*; ln -s file1 link; mkdir -p a/b/c; cp file59 a/b/c
      sha256sum file* a/b/c/* > /root/sums; cd /
      end busybox reboot -f
    else
      cd /root/many; sha256sum -c --quiet /root/sums && wc -l < /root/sums; readlink link; cd /
      power_off
    fi
    `,
  );
  const { exitCode, stdout, stderr } = await boot({ disks: [{ file: disk }] });
  assert.deepEqual(
    { exitCode, stdout },
    { exitCode: 0, stdout: 'boot 1: ext4 rw, 1 disk\nboot 2: ext4 rw, 1 disk\n50\nfile1\n' },
    stderr,
  );
  assert.equal(checkRootDisk(disk, 'powered-off').read('/root/boots'), '2\n');
});

const SYNCED_FILES = 8;

test('root on a qcow2 disk: what was synced is there after the process was killed', { skip }, async (context) => {
  const disk = await rootDisk(
    await folder(context),
    `
    mkdir /root/kept
    for ((i = 1; ; i++)); do
      for part in a b c; do seq $i $((i + 20000)) > /root/kept/$i.$part; done
      rm -f /root/kept/$((i - 1)).c
      sync; echo "synced $i" > /dev/ttyS0
    done
    `,
  );
  const args = ['run', '--accel', 'tcg', '--disk', disk, '--append', 'root=/dev/vda rw'];
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let console = '';
  child.stderr.on('data', (bytes) => {
    console += bytes;
  });
  child.stdout.on('data', (bytes) => {
    console += bytes;
    if (console.includes(`synced ${SYNCED_FILES}`)) child.kill('SIGKILL');
  });
  const [code, signal] = await once(child, 'close');
  assert.equal(signal, 'SIGKILL', `exit code ${code}; ${console}`);
  const { read } = checkRootDisk(disk, 'killed');
  const lines = (from: number) => Array.from({ length: 20_001 }, (_, line) => `${from + line}\n`).join('');
  for (let i = 1; i <= SYNCED_FILES; i++) {
    for (const part of ['a', 'b']) assert.ok(read(`/root/kept/${i}.${part}`) === lines(i), `${i}.${part}`);
  }
});

const CARDS = 3;
/** Runs by udhcpc. */
const DHCP = `#!/bin/sh
[ "$1" = bound ] && busybox ip address replace $ip/$mask dev $interface && echo "$interface $ip"
exit 0
`;

test('several cards, queues that change under way, and drivers that are unbound and bound again', {
  skip,
}, async (context) => {
  const content = randomBytes(300_000);
  const sum = createHash('sha256').update(content).digest('hex');
  const port = await serve(context, content);
  const work = await folder(context);
  const disk = await rootDisk(
    work,
    `
    cat > /run/dhcp <<'EOF'
${DHCP}EOF
    chmod +x /run/dhcp
    dhcp() { busybox ip link set $1 up; busybox udhcpc -i $1 -n -q -t 20 -T 1 -s /run/dhcp 2>/dev/null; }
    fetch() { cat < /dev/tcp/10.0.$1.2/${port} | sha256sum | cut -d' ' -f1; }
    busybox ip address flush dev eth0; busybox ip route flush dev eth0
    for ((i = 0; i < ${CARDS}; i++)); do dhcp eth$i; [ "$(fetch 5$i)" = ${sum} ] && echo "eth$i fetches"; done

    # Other numbers of queues while a download goes through them.
    while [ ! -e /run/stop ]; do fetch 50 >> /run/sums; done &
    while [ ! -s /run/sums ]; do sleep 0.1; done
    for queues in 4 1 3 2 4; do
      ethtool -L eth0 combined $queues; ethtool -l eth0 | tail -1
      before=$(wc -l < /run/sums); while [ $(wc -l < /run/sums) -le $before ]; do sleep 0.1; done
    done
    touch /run/stop; wait; sort -u /run/sums
    for queues in 0 5; do ethtool -L eth0 combined $queues 2>/dev/null || echo "not $queues queues"; done

    works() {
      case $1 in
        virtio_net) dhcp eth1 >/dev/null; fetch 51;;
        virtio_rng) head -c 100 /dev/hwrng | wc -c;;
        virtio_blk) sha256sum < /dev/vdb | cut -d' ' -f1;;
        virtio_scsi) until [ -e /dev/sda ]; do sleep 0.1; done; sha256sum < /dev/sda | cut -d' ' -f1;;
        9pnet_virtio) mkdir -p /run/share; mount -t 9p -o trans=virtio,version=9p2000.L share /run/share
          sha256sum < /run/share/data | cut -d' ' -f1; umount /run/share;;
        virtio_balloon) echo "balloon";;
      esac
    }
    cd /sys/bus/virtio/devices
    for device in *; do
      driver=$(basename $(readlink -f $device/driver))
      [ $driver = virtio_blk ] && [ -e $device/block/vda ] && continue
      [ $driver = virtio_net ] && [ ! -e $device/net/eth1 ] && continue
      before=$(works $driver)
      pci=$(basename $(readlink -f $device/..))
      for path in /sys/bus/virtio/drivers/$driver/$device /sys/bus/pci/drivers/virtio-pci/$pci; do
        name=\${path##*/}; bus=\${path%/*}
        for ((round = 0; round < 3; round++)); do
          echo $name > $bus/unbind; [ -e $path ] && echo "$name is still bound"
          echo $name > $bus/bind; [ -e $path ] || echo "$name is not bound"
        done
        [ "$(works $driver)" = "$before" ] && echo "$driver again"
      done
    done
    cd /
    busybox dmesg | grep -E 'BUG:|Oops|WARNING:|Call Trace|virtio.*fail'
    power_off
    `,
  );
  const data = join(work, 'data');
  await writeFile(data, randomBytes(1_000_448));
  const scsi = join(work, 'scsi.raw');
  await using file = await open(scsi, 'w');
  await file.write(randomBytes(500_224));
  const { exitCode, stdout, stderr } = await boot({
    cpus: 2,
    disks: [
      { file: disk, queues: 2 },
      { file: data, format: 'raw', queues: 4 },
      { file: scsi, format: 'raw', bus: 'scsi' },
    ],
    networks: Array.from({ length: CARDS }, (_, i) => ({
      kind: 'user' as const,
      userOptions: `net=10.0.5${i}.0/24,ipv6=off`,
      ...(i === 0 ? { queues: 4 } : {}),
    })),
    balloon: {},
    shares: [{ folder: work, tag: 'share', readOnly: true }],
  });
  const cards = [0, 1, 2].map((i) => `eth${i} 10.0.5${i}.15\neth${i} fetches\n`).join('');
  const queues = [4, 1, 3, 2, 4].map((count) => `Combined:\t${count}\n`).join('');
  const [common, ...again] = stdout.split(/^(?=\S+ again$)/m);
  assert.equal(common, `${cards}${queues}${sum}\nnot 0 queues\nnot 5 queues\n`, stderr);
  const drivers = ['9pnet_virtio', 'virtio_balloon', 'virtio_blk', 'virtio_net', 'virtio_rng', 'virtio_scsi'];
  assert.deepEqual(
    again.sort(),
    drivers.flatMap((name) => [`${name} again\n`, `${name} again\n`]),
    stderr,
  );
  assert.equal(exitCode, 0, stderr);
  checkRootDisk(disk, 'powered-off');
});
