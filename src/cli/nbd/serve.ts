/** vireo-nbd's server: one image for as many clients as allowed, until the last has left or a signal comes. */
import { rmSync, writeFileSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { NBD_PORT, type NbdExport, type NbdServerOptions, serveNbd } from '../../block/index.ts';
import type { ByteStream, HostListener } from '../../contract/index.ts';
import { listenByteStreams } from '../../host/node/index.ts';
import type { Objects } from '../drivers/objects.ts';
import { tellStarter } from './background.ts';
import { openExport } from './export.ts';
import { endpointOf, type NbdArguments } from './options.ts';

/** Clients that may wait for another to leave. */
const WAITING_MAX = 128;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export async function serveCommand(args: NbdArguments, objects: Objects): Promise<number> {
  if (args.names.length !== 1) {
    throw new UserError('Invalid number of arguments: expecting one image; vireo-nbd --help lists the options');
  }
  const endpoint = endpointOf(args, '0.0.0.0', NBD_PORT);
  const shared = args.number('shared', 0, 2 ** 31, 1);
  const credentials = args.get('tls-creds');
  const tls = credentials === undefined ? undefined : await objects.tls(credentials, 'server');
  const opened = await openExport(args, objects, shared !== 1);
  const pidFile = args.get('pid-file');
  let listener: HostListener | undefined;
  try {
    const clients = clientsOf({
      options: { exports: [opened.disk], tls: tls === undefined ? 'none' : 'required' },
      shared: shared === 0 ? Number.POSITIVE_INFINITY : shared,
      isPersistent: args.has('persistent'),
      say: args.has('verbose') ? (text) => process.stderr.write(`vireo-nbd: ${text}\n`) : () => {},
    });
    listener = await listenByteStreams(endpoint, clients.accept, tls === undefined ? {} : { tls });
    if (pidFile !== undefined) writePidFile(pidFile);
    tellStarter();
    const stop = () => clients.stop();
    for (const signal of SIGNALS) process.on(signal, stop);
    await clients.over;
    for (const signal of SIGNALS) process.off(signal, stop);
    return 0;
  } finally {
    listener?.close();
    await opened.close();
    if (pidFile !== undefined) rmSync(pidFile, { force: true });
  }
}

function writePidFile(path: string): void {
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (error) {
    throw new UserError(`cannot write the process id to ${path}: ${(error as Error).message}`);
  }
}

interface ClientsOptions {
  readonly options: NbdServerOptions & { readonly exports: readonly NbdExport[] };
  readonly shared: number;
  readonly isPersistent: boolean;
  readonly say: (text: string) => void;
}

/** Serves so many clients at once; the others wait. */
function clientsOf({ options, shared, isPersistent, say }: ClientsOptions) {
  const { promise: over, resolve: finish } = Promise.withResolvers<void>();
  const active = new Set<ByteStream>();
  const waiting: ByteStream[] = [];
  let isStopping = false;
  const left = (stream: ByteStream) => {
    active.delete(stream);
    say(`a client left; ${active.size} are here`);
    const next = isStopping ? undefined : waiting.shift();
    if (next !== undefined) serve(next);
    else if (active.size === 0 && (isStopping || !isPersistent)) finish();
  };
  const serve = (stream: ByteStream) => {
    active.add(stream);
    say(`a client came; ${active.size} are here`);
    serveNbd(stream, options)
      .catch((error: unknown) => {
        process.stderr.write(`vireo-nbd: a mistake of ours: ${error instanceof Error ? error.stack : String(error)}\n`);
      })
      .finally(() => left(stream));
  };
  return {
    over,
    accept(stream: ByteStream): void {
      if (isStopping || waiting.length >= WAITING_MAX) stream.destroy();
      else if (active.size < shared) serve(stream);
      else waiting.push(stream);
    },
    /** Ends every connection; requests under way are finished first. */
    stop(): void {
      isStopping = true;
      for (const stream of [...waiting.splice(0), ...active]) stream.destroy();
      if (active.size === 0) finish();
    },
  };
}
