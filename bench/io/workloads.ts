/** What the guest does, and what it prints of it. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';

export interface Workload {
  readonly name: string;
  readonly unit: 'MiB/s' | 'requests/s';
}

const FIO = ['read', 'write', 'randread', 'randwrite'] as const;
export const WORKLOADS: readonly Workload[] = [
  { name: 'virtio-blk read, 128 KiB', unit: 'MiB/s' },
  { name: 'virtio-blk write, 128 KiB', unit: 'MiB/s' },
  { name: 'virtio-blk random read, 4 KiB', unit: 'requests/s' },
  { name: 'virtio-blk random write, 4 KiB', unit: 'requests/s' },
  { name: 'TCP, guest to host', unit: 'MiB/s' },
  { name: 'TCP, host to guest', unit: 'MiB/s' },
  { name: '9p write', unit: 'MiB/s' },
  { name: '9p read', unit: 'MiB/s' },
  { name: '9p files made, read and removed', unit: 'requests/s' },
];

const NET_MEBIBYTES = 128;
const SHARE_MEBIBYTES = 256;
const SMALL_FILES = 400;

export interface ScriptOptions {
  readonly seconds: number;
  readonly sinkPort: number;
  readonly sourcePort: number;
  /** Shell commands that make the tools the place where `chroot /t` leads. */
  readonly enterTools: string;
}

/** Prints a line `INDEX VALUE` for each workload, then `done`. */
export function scriptOf({ seconds, sinkPort, sourcePort, enterTools }: ScriptOptions): string {
  const fio = FIO.map((kind, index) => {
    const isRandom = kind.startsWith('rand');
    // Fields of fio's terse output, version 3: bandwidth in KiB/s and requests a second.
    const field = kind.endsWith('read') ? (isRandom ? 8 : 7) : isRandom ? 49 : 48;
    return `
    line=$(fio --name=x --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 --size=384M --time_based \\
      --runtime=${seconds} --rw=${kind} --bs=${isRandom ? '4k' : '128k'} --output-format=terse --terse-version=3)
    echo ${index} $(echo "$line" | cut -d";" -f${field})`;
  });
  const timed = (index: number, amount: number, command: string) => `
    t=$EPOCHREALTIME; ${command}; echo ${index} amount=${amount} from=$t to=$EPOCHREALTIME`;
  return `${enterTools}
  mount -o bind /mnt/work /t/work
  cat > /t/tmp/run <<'END'
    ${fio.join('')}
    ${timed(4, NET_MEBIBYTES, `socat -u -b 262144 OPEN:/dev/zero,readbytes=${NET_MEBIBYTES * 2 ** 20} TCP:10.0.2.2:${sinkPort}`)}
    ${timed(5, NET_MEBIBYTES, `socat -u -b 262144 TCP:10.0.2.2:${sourcePort} OPEN:/dev/null`)}
    ${timed(6, SHARE_MEBIBYTES, `dd if=/dev/zero of=/work/big bs=1M count=${SHARE_MEBIBYTES} 2>/dev/null`)}
    ${timed(7, SHARE_MEBIBYTES, `dd if=/work/big of=/dev/null bs=1M 2>/dev/null`)}
    rm /work/big
    ${timed(8, SMALL_FILES, `for ((i = 0; i < ${SMALL_FILES}; i++)); do echo x > /work/f$i; read y < /work/f$i; done; rm /work/f*`)}
    echo done
END
  chroot /t bash /tmp/run`;
}

/** Values by workload, in its unit. */
export function parseOutput(output: string): number[] {
  return WORKLOADS.map(({ unit }, index) => {
    const line = new RegExp(`^${index} (.*)$`, 'm').exec(output)?.[1] ?? '';
    const [, amount, from, to] = /^amount=(\d+) from=([\d.]+) to=([\d.]+)$/.exec(line) ?? [];
    if (amount !== undefined) return Number(amount) / (Number(to) - Number(from));
    const value = Number.parseFloat(line);
    if (!(value > 0)) throw new Error(`no value of workload ${index} in:\n${output}`);
    return unit === 'MiB/s' ? value / 1024 : value;
  });
}

export interface Peers {
  readonly sinkPort: number;
  readonly sourcePort: number;
  close(): void;
}

/** Two servers on the host's loopback: one takes everything, one sends what a workload wants. */
export async function startPeers(): Promise<Peers> {
  const content = Buffer.alloc(2 ** 20);
  const sink = createServer((socket) => socket.resume().on('error', () => {}));
  const source = createServer((socket) => {
    socket.on('error', () => {});
    void send(socket, content);
  });
  const ports: number[] = [];
  for (const server of [sink, source]) ports.push(await listen(server));
  return {
    sinkPort: ports[0],
    sourcePort: ports[1],
    close() {
      sink.close();
      source.close();
    },
  };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function send(socket: Socket, content: Buffer): Promise<void> {
  for (let sent = 0; sent < NET_MEBIBYTES && !socket.destroyed; sent++) {
    if (!socket.write(content)) await once(socket, 'drain').catch(() => {});
  }
  socket.end();
}
