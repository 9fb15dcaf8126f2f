/** The program in a process of its own, and a QMP client on its socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { JsonDecoder } from '../../../monitor/index.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));

export interface Emulator extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly folder: string;
  /** What it printed so far. */
  output(): string;
  errors(): string;
  /** Resolves when its output has this text. */
  until(text: string): Promise<void>;
  /** Its exit code. */
  readonly ended: Promise<number | null>;
}

export function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'vireo-system-'));
}

/** @param files that it inherits, from descriptor 3 on */
export function startEmulator(
  args: readonly string[],
  folder: string,
  cleans = true,
  files: readonly Socket[] = [],
): Emulator {
  const stdio = ['pipe', 'pipe', 'pipe', ...files] as const;
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, stdio: [...stdio] });
  const texts = { stdout: '', stderr: '' };
  let onText = () => {};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.on('data', (bytes: Buffer) => {
      texts[name] += bytes.toString('latin1');
      onText();
    });
  }
  const ended = once(child, 'close').then(([code]) => {
    onText();
    return code as number | null;
  });
  return {
    child,
    folder,
    output: () => texts.stdout,
    errors: () => texts.stderr,
    async until(text) {
      while (!texts.stdout.includes(text)) {
        if (child.exitCode !== null) throw new Error(`it ended before it printed ${text}: ${texts.stderr}`);
        await new Promise<void>((resolve) => (onText = resolve));
      }
    },
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
      if (cleans) await rm(folder, { recursive: true, force: true });
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: replies are looked at, not relied on
export type Message = Readonly<Record<string, any>>;

export interface QmpClient extends Disposable {
  readonly socket: Socket;
  readonly messages: readonly Message[];
  /** Resolves to the first message that fits, also one that came before. */
  until(fits: (message: Message) => boolean): Promise<Message>;
  /** The reply's return member; rejects with the error's description. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  call(execute: string, args?: unknown): Promise<any>;
  event(name: string): Promise<Message>;
}

/** Connects as soon as somebody listens. */
export async function connectQmp(path: string, negotiates = true): Promise<QmpClient> {
  const socket = await connectWhenThere(path);
  const decoder = new JsonDecoder();
  const messages: Message[] = [];
  let onMessage = () => {};
  let isClosed = false;
  socket.on('data', (bytes: Buffer) => {
    for (const decoded of decoder.feed(bytes)) if ('value' in decoded) messages.push(decoded.value as Message);
    onMessage();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    onMessage();
  });
  let nextId = 1;
  const client: QmpClient = {
    socket,
    messages,
    async until(fits) {
      for (;;) {
        const found = messages.find(fits);
        if (found !== undefined) return found;
        if (isClosed) throw new Error('the connection ended');
        await new Promise<void>((resolve) => (onMessage = resolve));
      }
    },
    async call(execute, args) {
      const id = nextId++;
      socket.write(JSON.stringify({ execute, id, arguments: args }));
      const reply = await client.until((message) => message.id === id);
      if (reply.error !== undefined) throw new Error(`${reply.error.class}: ${reply.error.desc}`);
      return reply.return;
    },
    event: (name) => client.until((message) => message.event === name),
    [Symbol.dispose]: () => socket.destroy(),
  };
  await client.until((message) => message.QMP !== undefined);
  if (negotiates) await client.call('qmp_capabilities');
  return client;
}

async function connectWhenThere(path: string): Promise<Socket> {
  for (;;) {
    const socket = createConnection(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
