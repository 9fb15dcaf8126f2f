/** iperf3's server on the host's loopback: the guest's own binary, run with the guest's libraries. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface IperfServer {
  readonly port: number;
  close(): void;
}

/** @param root a folder that holds a Debian with iperf3 */
export async function startIperf(root: string): Promise<IperfServer> {
  const port = await freePort();
  const libraries = ['lib', 'usr/lib'].map((folder) => join(root, folder, 'x86_64-linux-gnu'));
  const child = spawn(
    join(libraries[0], 'ld-linux-x86-64.so.2'),
    ['--library-path', libraries.join(':'), join(root, 'usr/bin/iperf3'), '-s', '-p', String(port), '--forceflush'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  for await (const line of createInterface(child.stdout)) if (line.includes('listening')) break;
  child.stdout.resume();
  return { port, close: () => void child.kill() };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
