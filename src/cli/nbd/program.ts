/** The vireo-nbd program: qemu-nbd's options, output and exit codes. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../../base/index.ts';
import { parseObjects } from '../drivers/objects.ts';
import { startInBackground } from './background.ts';
import { listCommand } from './list.ts';
import { type NbdArguments, parseNbdArguments } from './options.ts';
import { serveCommand } from './serve.ts';

const HELP = `Usage: vireo-nbd [OPTIONS] FILE
  or:  vireo-nbd -L [OPTIONS]

  -h, --help                this help
  -V, --version             the version

Connection:
  -p, --port=PORT           port to listen on (10809)
  -b, --bind=ADDRESS        address to listen on (0.0.0.0)
  -k, --socket=PATH         unix socket to listen on instead
  -e, --shared=NUM          clients at once (1; 0: any number)
  -t, --persistent          go on after the last client has left
  -v, --verbose             tell of clients on standard error
  -x, --export-name=NAME    name of the export (empty)
  -D, --description=TEXT    description of the export

Part of the image:
  -o, --offset=OFFSET       where the export begins in the image
  -P, --partition=NUM       one partition of the image
  -A, --allocation-depth    tell which image of a backing chain has the data
  -B, --bitmap=NAME         tell what a persistent dirty bitmap says

General:
  -L, --list                list the exports of another server
  --object KIND,id=ID,...   secret, tls-creds-x509 or tls-creds-psk
  --tls-creds=ID            use TLS with these credentials
  --tls-hostname=NAME       name that a server's certificate must have (with -L)
  --fork                    go on in the background once the server listens
  --pid-file=PATH           write the process id to a file

Image:
  -f, --format=FORMAT       format of the image
  -r, --read-only           export read-only
  -s, --snapshot            keep writes in a temporary image that is thrown away
  -l, --load-snapshot=NAME  export an internal snapshot, read-only
  -n, --nocache             the same as --cache=none
  --cache=MODE              none, writeback, writethrough, directsync or unsafe
  --aio=MODE                native, io_uring or threads
  --discard=MODE            ignore or unmap
  --detect-zeroes=MODE      off, on or unmap
  --image-opts              FILE is driver=... options
`;

/** Runs the program on a command line without its first two words; returns the exit code. */
export async function runNbd(argv: readonly string[]): Promise<number> {
  try {
    return await dispatch(parseNbdArguments(argv), argv);
  } catch (error) {
    const text = error instanceof UserError ? error.message : `a mistake of ours: ${stackOf(error)}`;
    process.stderr.write(`vireo-nbd: ${text}\n`);
    return 1;
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

async function dispatch(args: NbdArguments, argv: readonly string[]): Promise<number> {
  if (args.has('help')) {
    process.stdout.write(HELP);
    return 0;
  }
  if (args.has('version')) {
    const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8');
    process.stdout.write(`vireo-nbd ${(JSON.parse(text) as { version: string }).version}\n`);
    return 0;
  }
  for (const option of ['connect', 'disconnect'] as const) {
    if (args.has(option)) throw new UserError(`--${option}: the kernel's NBD client is not supported; use nbd-client`);
  }
  const objects = parseObjects(args.all('object'));
  if (args.has('list')) return listCommand(args, objects);
  return args.has('fork') ? startInBackground(argv, args.has('verbose')) : serveCommand(args, objects);
}
