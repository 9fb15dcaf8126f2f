/** Where machines go to and come from on this host: sockets, programs, files and open descriptors. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Socket } from 'node:net';
import { IoError, UserError } from '../../base/index.ts';
import type { ByteStream } from '../../contract/index.ts';
import { byteStreamOf, connectByteStream, listenByteStreams } from '../../host/node/index.ts';
import type { MigrationAddress, MigrationHost, MigrationStream } from '../../monitor/index.ts';

const READ_BYTES = 1024 * 1024;

export const migrationHost: MigrationHost = {
  async connect(to) {
    switch (to.kind) {
      case 'unix':
      case 'inet':
        return bothWays(await connectByteStream(to));
      case 'fd':
        return bothWays(byteStreamOf(new Socket({ fd: to.fd })));
      case 'exec':
        return toProgram(to.command);
      case 'file':
        return toFile(to.path, to.offset);
    }
  },
  async listen(at, accept) {
    if (at.kind === 'unix' || at.kind === 'inet') {
      let isTaken = false;
      const listener = await listenByteStreams(at, (stream) => {
        // One machine comes; nobody else has a say.
        if (isTaken) stream.destroy();
        else accept(bothWays(stream));
        isTaken = true;
      });
      return listener;
    }
    accept(await sourceOf(at));
    return { close() {} };
  },
};

async function sourceOf(at: Exclude<MigrationAddress, { kind: 'unix' | 'inet' }>): Promise<MigrationStream> {
  switch (at.kind) {
    case 'fd':
      return bothWays(byteStreamOf(new Socket({ fd: at.fd })));
    case 'exec': {
      const child = spawn('/bin/sh', ['-c', at.command], { stdio: ['ignore', 'pipe', 'inherit'] });
      return oneWay(child.stdout, () => child.kill());
    }
    case 'file': {
      const file = await openFile(at.path, 'r');
      const source = createReadStream('', { fd: file, start: at.offset, highWaterMark: READ_BYTES });
      return oneWay(source, () => source.destroy());
    }
  }
}

async function openFile(path: string, flags: 'r' | 'r+' | 'w') {
  try {
    return await open(path, flags, 0o600);
  } catch (error) {
    throw new UserError(`Could not open '${path}': ${(error as Error).message}`);
  }
}

/** A connection whose other side answers. */
function bothWays(stream: ByteStream): MigrationStream {
  return {
    answers: true,
    read: () => stream.read(),
    write: (parts) => stream.write(parts),
    destroy: () => stream.destroy(),
    async finish() {
      stream.end();
    },
  };
}

function oneWay(source: AsyncIterable<Uint8Array>, destroy: () => void): MigrationStream {
  const pieces = source[Symbol.asyncIterator]();
  return {
    answers: false,
    async read() {
      const { value, done } = await pieces.next();
      return done ? undefined : value;
    },
    write: () => Promise.reject(new IoError('io', 'this way leads in only')),
    destroy,
    async finish() {
      destroy();
    },
  };
}

const NOTHING_COMES = () => Promise.reject(new IoError('io', 'this way leads out only'));

/** Resolves at the end when the program has ended well. */
function toProgram(command: string): MigrationStream {
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'inherit', 'inherit'] });
  const ended = once(child, 'close').then(([code, signal]) => {
    return code === 0 ? undefined : `${command} ended with ${signal ?? `status ${code}`}`;
  });
  const { stdin } = child;
  stdin.on('error', () => {}); // the program's end says more
  return {
    answers: false,
    read: NOTHING_COMES,
    async write(parts) {
      for (const part of parts) {
        const { promise, resolve } = Promise.withResolvers<Error | null | undefined>();
        stdin.write(part, resolve);
        if (await promise) throw new IoError('io', (await ended) ?? `${command} reads no more`);
      }
    },
    destroy: () => child.kill(),
    async finish() {
      stdin.end();
      const failure = await ended;
      if (failure !== undefined) throw new IoError('io', failure);
    },
  };
}

/** On the disk at the end. */
async function toFile(path: string, offset: number): Promise<MigrationStream> {
  const file = offset > 0 ? await openFile(path, 'r+') : await openFile(path, 'w');
  let at = offset;
  const close = () => file.close().catch(() => {});
  return {
    answers: false,
    read: NOTHING_COMES,
    async write(parts) {
      for (const part of parts) {
        for (let done = 0; done < part.length; ) {
          const { bytesWritten } = await file.write(part, done, part.length - done, at);
          done += bytesWritten;
          at += bytesWritten;
        }
      }
    },
    destroy: () => void close(),
    async finish() {
      await file.sync();
      await close();
    },
  };
}
