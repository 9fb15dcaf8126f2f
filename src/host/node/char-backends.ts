/** Character backends of this computer: terminal, files, pipes, pseudo-terminals, sockets. */
import { closeSync, constants, createReadStream, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { ReadStream as TtyReadStream } from 'node:tty';
import { UserError } from '../../base/index.ts';
import type { CharBackend, CharBackendReceiver, CharBackendSpec } from '../../contract/index.ts';
import { syncOutput } from './char-file.ts';
import { openSocketBackend } from './char-socket.ts';
import { openPty } from './pty.ts';

/** What a terminal and others have in common: something to read, something to write. */
export interface StreamPair {
  readonly label: string;
  readonly input?: Readable;
  readonly output?: Pick<Writable, 'write' | 'writableLength' | 'on'>;
  close(): void | Promise<void>;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  EADDRINUSE: 'the address is in use',
  EBADF: 'it is not open',
  ECONNREFUSED: 'nobody listens there',
};

/** What is wrong, in words. */
export function reasonOf(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return REASONS[code] ?? message;
}

/**
 * @param onWaiting is told, once, what a server waits for
 * @throws UserError that names what could not be opened and why
 */
export async function openCharBackend(
  spec: CharBackendSpec,
  onWaiting: (label: string) => void = () => {},
): Promise<CharBackend> {
  try {
    switch (spec.kind) {
      case 'stdio':
        return stdioBackend();
      case 'file':
        return fileBackend(spec.path, spec.append, spec.inputPath);
      case 'pipe':
        return pipeBackend(spec.path);
      case 'pty':
        return ptyBackend();
      case 'fd':
        return fdBackend(spec.fd);
      case 'socket':
        return await openSocketBackend(spec, onWaiting);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`cannot open the ${spec.kind} of the character device${nameOf(spec)}: ${reasonOf(error)}`);
  }
}

function nameOf(spec: CharBackendSpec): string {
  if ('path' in spec) return ` ${spec.path}`;
  if (spec.kind === 'socket' && spec.address.kind === 'unix') return ` ${spec.address.path}`;
  return spec.kind === 'fd' ? ` ${spec.fd}` : '';
}

/** A backend that is open from the start. */
export function streamBackend({ label, input, output, close }: StreamPair): CharBackend {
  let receiver: CharBackendReceiver | undefined;
  let isOpen = true;
  const end = () => {
    if (!isOpen) return;
    isOpen = false;
    receiver?.closed?.();
  };
  input?.on('data', (bytes: Buffer) => receiver?.data(new Uint8Array(bytes)));
  input?.on('error', end);
  input?.pause();
  output?.on('error', end);
  output?.on('drain', () => receiver?.drained?.());
  return {
    label,
    get isOpen() {
      return isOpen;
    },
    get waitingBytes() {
      return output?.writableLength ?? 0;
    },
    connect(given) {
      receiver = given;
      input?.resume();
    },
    write(bytes) {
      if (isOpen) output?.write(bytes);
    },
    pause: () => input?.pause(),
    resume: () => {
      if (receiver !== undefined) input?.resume();
    },
    async close() {
      if (isOpen && output !== undefined) await drained(output);
      await close();
    },
  };
}

const CLOSE_TIMEOUT_MILLIS = 1000;

/** Resolves when everything was handed over, or nobody takes it. */
function drained(output: NonNullable<StreamPair['output']>): Promise<void> {
  return new Promise((resolve) => {
    if (output.writableLength === 0) return resolve();
    const timeout = setTimeout(resolve, CLOSE_TIMEOUT_MILLIS);
    output.on('drain', () => {
      clearTimeout(timeout);
      resolve();
    });
    // A stream that was not full says nothing when it is empty: an empty write does.
    output.write(new Uint8Array(), () => {
      clearTimeout(timeout);
      resolve();
    });
  });
}

/** The terminal hands over every key while it is one. */
function stdioBackend(): CharBackend {
  const { stdin, stdout } = process;
  const leave = () => {
    if (stdin.isTTY) stdin.setRawMode(false);
  };
  if (stdin.isTTY) stdin.setRawMode(true);
  process.on('exit', leave);
  const backend = streamBackend({
    label: 'stdio',
    input: stdin,
    output: stdout,
    close() {
      leave();
      process.off('exit', leave);
      stdin.pause();
      stdin.unref?.();
    },
  });
  return backend;
}

function fileBackend(path: string, append: boolean, inputPath: string | undefined): CharBackend {
  const fd = openSync(path, append ? 'a' : 'w', 0o666);
  const input = inputPath === undefined ? undefined : createReadStream(inputPath);
  return streamBackend({
    label: 'file',
    input,
    output: syncOutput(fd),
    close() {
      input?.destroy();
      closeSync(fd);
    },
  });
}

/** PATH.in and PATH.out, or PATH alone for both; opened for both ways so that neither waits for its other end. */
function pipeBackend(path: string): CharBackend {
  const open = (name: string) => openSync(name, constants.O_RDWR | constants.O_NONBLOCK);
  const { inputFd, outputFd } = openPipePair(path, open);
  const input = new Socket({ fd: inputFd, readable: true, writable: inputFd === outputFd });
  const output = inputFd === outputFd ? input : new Socket({ fd: outputFd, readable: false, writable: true });
  return streamBackend({
    label: 'pipe',
    input,
    output,
    close() {
      input.destroy();
      output.destroy();
    },
  });
}

function openPipePair(path: string, open: (name: string) => number): { inputFd: number; outputFd: number } {
  try {
    return { inputFd: open(`${path}.in`), outputFd: open(`${path}.out`) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const fd = open(path);
    return { inputFd: fd, outputFd: fd };
  }
}

function ptyBackend(): CharBackend {
  const { master, slave, path } = openPty();
  const input = new TtyReadStream(master);
  // A tty's ReadStream is a socket: it writes too.
  return streamBackend({
    label: `pty:${path}`,
    input,
    output: bounded(input as unknown as Socket),
    close() {
      input.destroy();
      closeSync(slave);
    },
  });
}

/** Nobody may ever read it: what is too much is lost. */
const UNREAD_MAX_BYTES = 64 * 1024;

function bounded(stream: Socket): NonNullable<StreamPair['output']> {
  return {
    get writableLength() {
      return 0;
    },
    write(bytes: Uint8Array) {
      if (stream.writableLength < UNREAD_MAX_BYTES) stream.write(bytes);
      return true;
    },
    on: stream.on.bind(stream),
  } as NonNullable<StreamPair['output']>;
}

function fdBackend(fd: number): CharBackend {
  const stream = new Socket({ fd, readable: true, writable: true });
  return streamBackend({ label: `fd:${fd}`, input: stream, output: stream, close: () => void stream.destroy() });
}
