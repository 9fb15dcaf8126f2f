/** Ports of the guest's virtio console as unix sockets: `--channel NAME=PATH` and `--virtio-console PATH`. */
import { resolve } from 'node:path';
import { UserError } from '../base/index.ts';
import type { CharBackend } from '../contract/index.ts';
import type { ConsolePortOptions, Machine, SerialConsole } from '../machine/index.ts';
import { UsageError } from './options.ts';

/** Output and input wait when the other side has this much to take. */
const OUTPUT_MAX_BYTES = 256 * 1024;
const INPUT_MAX_BYTES = 16 * 1024;

export interface Channel {
  readonly port: ConsolePortOptions;
  readonly path: string;
}

/** Terminals first, so that hvc0 is the first of them. @throws UsageError that names what is wrong */
export function parseChannels(consoles: readonly string[], channels: readonly string[]): Channel[] {
  return [
    ...consoles.map((path) => ({ port: { isConsole: true }, path: resolve(path) })),
    ...channels.map((text) => {
      const [, name, path] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
      if (name === undefined)
        throw new UsageError(
          `--channel ${text}: it is a name and a path, as in --channel org.example.0=/run/agent.sock`,
        );
      return { port: { name }, path: resolve(path) };
    }),
  ];
}

/** Opens the sockets, and moves bytes for as long as the machine lives. */
export async function serveChannels(machine: Machine, channels: readonly Channel[]): Promise<void> {
  const count = machine.consolePorts.length;
  if (channels.length > count) throw new UserError(`the machine's console has ${count} ports, not ${channels.length}`);
  if (channels.length === 0) return;
  const { openCharBackend } = await import('../host/node/index.ts');
  const backends: CharBackend[] = [];
  try {
    for (const { path } of channels) backends.push(await openCharBackend(socketAt(path)));
  } catch (error) {
    await Promise.all(backends.map((backend) => backend.close()));
    await machine.stop();
    throw error;
  }
  for (const [index, backend] of backends.entries()) {
    void join(machine.consolePorts[index], backend).then(() => backend.close());
  }
}

function socketAt(path: string) {
  const address = { kind: 'unix', path } as const;
  return { kind: 'socket', address, server: true, wait: false, telnet: false, reconnectMillis: 0 } as const;
}

/** Resolves when the port's output has ended. */
async function join(port: SerialConsole, backend: CharBackend): Promise<void> {
  const writer = port.writable.getWriter();
  let waiting = 0;
  let onDrained: (() => void) | undefined;
  backend.connect({
    data(bytes) {
      waiting += bytes.length;
      if (waiting > INPUT_MAX_BYTES) backend.pause();
      void writer.write(bytes).then(() => {
        waiting -= bytes.length;
        if (waiting <= INPUT_MAX_BYTES) backend.resume();
      });
    },
    drained: () => onDrained?.(),
    closed: () => onDrained?.(),
  });
  for await (const bytes of port.readable) {
    backend.write(bytes);
    while (backend.isOpen && backend.waitingBytes > OUTPUT_MAX_BYTES) {
      await new Promise<void>((resolve) => (onDrained = resolve));
    }
  }
}
