/** Byte streams over Node's sockets and programs. */
import { spawn } from 'node:child_process';
import { createServer, connect as nodeConnect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { HostEndpoint, HostListener, HostStream, HostStreamEvents } from '../../contract/index.ts';
import { listenOn } from './listen.ts';
import { failureOf } from './net-failure.ts';

export function connectStream(to: HostEndpoint, events: HostStreamEvents): HostStream {
  const target = to.kind === 'unix' ? { path: to.path } : { host: to.address, port: to.port };
  const socket = nodeConnect({ ...target, allowHalfOpen: true, noDelay: true });
  socket.on('connect', () => events.connected?.());
  return socketStream(socket, to.kind, () => events);
}

export function listenStream(
  at: HostEndpoint,
  accept: (stream: HostStream, from: HostEndpoint | undefined) => HostStreamEvents,
): Promise<HostListener> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const { remoteAddress, remotePort } = socket;
    const from: HostEndpoint | undefined =
      remoteAddress === undefined || remotePort === undefined
        ? undefined
        : { kind: 'inet', address: remoteAddress, port: remotePort };
    let events: HostStreamEvents | undefined;
    const stream = socketStream(socket, at.kind, () => events!);
    events = accept(stream, from);
  });
  return listenOn(server, at);
}

/** @param events asked for at each event, because an accepted stream's are known only after it is */
function socketStream(socket: Socket, kind: HostEndpoint['kind'], events: () => HostStreamEvents): HostStream {
  let [isDestroyed, failure]: [boolean, NodeJS.ErrnoException | undefined] = [false, undefined];
  socket.on('data', (bytes: Buffer) => {
    if (!isDestroyed) events().data(plain(bytes));
  });
  socket.on('end', () => {
    if (!isDestroyed) events().ended();
  });
  socket.on('error', (error) => {
    failure = error;
  });
  socket.on('close', () => {
    if (!isDestroyed) events().closed(failure === undefined ? undefined : failureOf(failure));
  });
  return {
    write(bytes) {
      socket.write(bytes, (error) => {
        if (!isDestroyed && !error) events().written?.(bytes.length);
      });
    },
    end: () => socket.end(),
    destroy() {
      isDestroyed = true;
      if (kind === 'unix' || socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
  };
}

/** Not a Buffer, whose `slice` is no copy. */
function plain({ buffer, byteOffset, length }: Buffer): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

/** A program run by the shell; its errors go to our standard error. */
export function spawnStream(command: string, events: HostStreamEvents): HostStream {
  const child = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'inherit'] });
  const [input, output]: [Writable, Readable] = [child.stdin, child.stdout];
  let [isDestroyed, isFailed] = [false, false];
  child.on('spawn', () => events.connected?.());
  child.on('error', () => {
    isFailed = true;
  });
  input.on('error', () => {}); // the program does not read to the end; `close` follows
  output.on('data', (bytes: Buffer) => {
    if (!isDestroyed) events.data(plain(bytes));
  });
  output.on('end', () => {
    if (!isDestroyed) events.ended();
  });
  child.on('close', () => {
    if (!isDestroyed) events.closed(isFailed ? 'refused' : undefined);
  });
  return {
    write(bytes) {
      input.write(bytes, (error) => {
        if (!isDestroyed && !error) events.written?.(bytes.length);
      });
    },
    end: () => input.end(),
    destroy() {
      isDestroyed = true;
      child.kill();
      input.destroy();
      output.destroy();
    },
    pause: () => output.pause(),
    resume: () => output.resume(),
  };
}
