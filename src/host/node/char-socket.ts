/** Character backends on sockets: one connection at a time, as a server or as a client that comes back. */
import { rmSync, statSync } from 'node:fs';
import { createServer, connect as nodeConnect, type Server, Socket } from 'node:net';
import type { CharBackend, CharBackendReceiver, CharBackendSpec } from '../../contract/index.ts';
import { TELNET_HELLO, TelnetFilter } from './telnet.ts';

/** Connections that wait for their turn. */
const WAITING_MAX = 16;

type SocketSpec = Extract<CharBackendSpec, { kind: 'socket' }>;

export async function openSocketBackend(spec: SocketSpec, onWaiting: (label: string) => void): Promise<CharBackend> {
  const backend = new SocketBackend(spec);
  await backend.open();
  if (spec.server && spec.wait && !backend.isOpen) {
    onWaiting(backend.label);
    await backend.firstConnection;
  }
  return backend;
}

class SocketBackend implements CharBackend {
  readonly #spec: SocketSpec;
  readonly #first = Promise.withResolvers<void>();
  #server: Server | undefined;
  #socket: Socket | undefined;
  #telnet: TelnetFilter | undefined;
  #receiver: CharBackendReceiver | undefined;
  #address: string;
  #retry: NodeJS.Timeout | undefined;
  #isPaused = false;
  #isClosed = false;
  #waiting: Socket[] = [];

  constructor(spec: SocketSpec) {
    this.#spec = spec;
    const { address } = spec;
    this.#address =
      address.kind === 'unix'
        ? `unix:${address.path}`
        : address.kind === 'fd'
          ? `fd:${address.fd}`
          : `${spec.telnet ? 'telnet' : 'tcp'}:${address.address}:${address.port}`;
  }

  get firstConnection(): Promise<void> {
    return this.#first.promise;
  }

  get label(): string {
    return `${this.isOpen ? '' : 'disconnected:'}${this.#address}${this.#spec.server ? ',server=on' : ''}`;
  }

  get isOpen(): boolean {
    return this.#socket !== undefined;
  }

  get waitingBytes(): number {
    return this.#socket?.writableLength ?? 0;
  }

  async open(): Promise<void> {
    if (this.#spec.server) await this.#listen();
    else await this.#connect(this.#spec.reconnectMillis === 0);
  }

  connect(receiver: CharBackendReceiver): void {
    this.#receiver = receiver;
    if (!this.#isPaused) this.#socket?.resume();
  }

  write(bytes: Uint8Array): void {
    this.#socket?.write(this.#telnet === undefined ? bytes : this.#telnet.escape(bytes));
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#receiver !== undefined) this.#socket?.resume();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    this.#server?.close();
    for (const waiting of this.#waiting.splice(0)) waiting.destroy();
    const socket = this.#socket;
    if (socket !== undefined) await ended(socket);
  }

  #listen(): Promise<void> {
    const { address } = this.#spec;
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      if (this.#socket === undefined) this.#attach(socket);
      else this.#queue(socket);
    });
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      const ready = () => {
        server.off('error', reject);
        server.on('error', () => {}); // one connection could not be accepted; the next may
        const bound = server.address();
        if (address.kind === 'inet' && typeof bound === 'object' && bound !== null) {
          this.#address = `${this.#spec.telnet ? 'telnet' : 'tcp'}:${bound.address}:${bound.port}`;
        } else if (typeof bound === 'string') this.#address = `unix:${bound}`;
        resolve();
      };
      if (address.kind === 'fd') server.listen({ fd: address.fd }, ready);
      else if (address.kind === 'inet') server.listen({ host: address.address, port: address.port }, ready);
      else {
        removeSocket(address.path);
        server.listen({ path: address.path }, ready);
      }
    });
  }

  /** @param failing A first connection that fails is an error; later ones are tried again. */
  #connect(failing: boolean): Promise<void> {
    const { address } = this.#spec;
    if (address.kind === 'fd') {
      this.#attach(new Socket({ fd: address.fd, readable: true, writable: true }));
      return Promise.resolve();
    }
    const target = address.kind === 'unix' ? { path: address.path } : { host: address.address, port: address.port };
    return new Promise((resolve, reject) => {
      const socket = nodeConnect({ ...target, noDelay: true });
      socket.once('error', (error) => {
        if (failing) reject(error);
        else {
          this.#retryLater();
          resolve();
        }
      });
      socket.once('connect', () => {
        socket.removeAllListeners('error');
        this.#attach(socket);
        resolve();
      });
    });
  }

  /** One at a time: others wait until the one before has gone. */
  #queue(socket: Socket): void {
    if (this.#waiting.length >= WAITING_MAX) {
      socket.destroy();
      return;
    }
    this.#waiting.push(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#waiting = this.#waiting.filter((one) => one !== socket);
    });
  }

  #retryLater(): void {
    const { reconnectMillis } = this.#spec;
    if (this.#isClosed || reconnectMillis === 0) return;
    this.#retry = setTimeout(() => void this.#connect(false), reconnectMillis);
  }

  #attach(socket: Socket): void {
    this.#socket = socket;
    if (this.#spec.telnet) {
      this.#telnet = new TelnetFilter();
      socket.write(TELNET_HELLO);
    }
    socket.on('data', (bytes: Buffer) => {
      if (this.#isClosed) return;
      const own = new Uint8Array(bytes);
      const data = this.#telnet === undefined ? own : this.#telnet.feed(own);
      if (data.length > 0) this.#receiver?.data(data);
    });
    socket.on('drain', () => this.#receiver?.drained?.());
    socket.on('error', () => {}); // `close` follows
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      this.#socket = undefined;
      this.#receiver?.closed?.();
      if (!this.#spec.server) this.#retryLater();
      const next = this.#waiting.shift();
      if (next !== undefined && !this.#isClosed) this.#attach(next);
    });
    if (this.#receiver === undefined || this.#isPaused) socket.pause();
    else socket.resume();
    this.#first.resolve();
    this.#receiver?.opened?.();
  }
}

/** How long a client may take to see the end of what it was sent. */
const END_TIMEOUT_MILLIS = 500;

/**
 * Says that nothing more comes, and waits until the other side has gone too: a socket that is closed while something
 * that the other side sent was not read takes back what was sent to it last.
 */
function ended(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timeout = setTimeout(() => socket.destroy(), END_TIMEOUT_MILLIS);
    socket.once('close', () => {
      clearTimeout(timeout);
      resolve();
    });
    socket.end();
    socket.resume();
  });
}

/** What an earlier process left; anything but a socket stays and makes listening fail. */
function removeSocket(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket()) rmSync(path);
}
