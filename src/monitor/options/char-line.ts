/** Character devices on the command line: -chardev's parameters, and the short lines of -serial, -monitor and -qmp. */
import { UserError } from '../../base/index.ts';
import type { CharBackendSpec } from '../../contract/index.ts';
import type { ChardevConfig } from './config.ts';
import { ParamReader, type Params, parseParams } from './opts.ts';

type Backend = ChardevConfig['backend'];

/** Each kind of backend, what it needs, and one line about it for help. */
const KINDS: Readonly<Record<string, { readonly help: string; readonly read: (params: ParamReader) => Backend }>> = {
  stdio: {
    help: 'the terminal: [signal=on|off]',
    read(params) {
      params.ignore('signal');
      return { kind: 'stdio' };
    },
  },
  file: {
    help: 'output to a file: path=FILE [append=on|off] [input-path=FILE]',
    read: (params) => ({
      kind: 'file',
      path: params.required('path'),
      append: params.switch('append') ?? false,
      inputPath: params.text('input-path'),
    }),
  },
  pipe: {
    help: 'named pipes PATH.in and PATH.out: path=PATH',
    read: (params) => ({ kind: 'pipe', path: params.required('path') }),
  },
  pty: { help: 'a pseudo-terminal, whose name is printed', read: () => ({ kind: 'pty' }) },
  socket: {
    help: 'unix: path=PATH; TCP: host=HOST,port=PORT; handed over: fd=N; [server=on|off] [wait=on|off] [telnet=on|off] [reconnect=SECONDS]',
    read: readSocket,
  },
  null: { help: 'leads nowhere', read: () => ({ kind: 'null' }) },
  ringbuf: { help: 'the newest output, in memory: [size=SIZE]', read: readRingbuf },
  fd: {
    help: 'an open file: fd=N',
    read: (params) => ({ kind: 'fd', fd: params.number('fd') ?? Number(params.required('fd')) }),
  },
};

export const CHARDEV_KINDS: readonly string[] = Object.keys(KINDS);
const RINGBUF_BYTES = 64 * 1024;
const RINGBUF_MAX_BYTES = 64 * 1024 * 1024;
const PORT_MAX = 65_535;

export function chardevHelp(): string {
  const rows = Object.entries(KINDS).map(([name, { help }]) => `  ${name.padEnd(8)} ${help}\n`);
  return `Available chardev backend types:\n${rows.join('')}All take id=ID and mux=on|off.\n`;
}

/** What -chardev says. */
export function readChardev(params: Params): ChardevConfig {
  const reader = new ParamReader(params);
  const kind = reader.required('backend');
  if (!Object.hasOwn(KINDS, kind)) {
    throw new UserError(`'${kind}' is not a valid char driver name; there are ${CHARDEV_KINDS.join(', ')}`);
  }
  const id = reader.required('id');
  const mux = reader.switch('mux') ?? false;
  if (reader.has('logfile')) throw new UserError('logfile is not supported: use a second chardev');
  const backend = KINDS[kind].read(reader);
  reader.finish();
  return { id, backend, mux };
}

function readRingbuf(params: ParamReader): Backend {
  const sizeBytes = params.bytes('size') ?? RINGBUF_BYTES;
  if (sizeBytes < 1 || sizeBytes > RINGBUF_MAX_BYTES || (sizeBytes & (sizeBytes - 1)) !== 0) {
    throw new UserError('size of ringbuf chardev must be a power of two, at most 64M');
  }
  return { kind: 'ringbuf', sizeBytes };
}

function readSocket(params: ParamReader): Backend {
  for (const name of ['websocket', 'tls-creds', 'tn3270', 'abstract', 'to']) {
    if (params.has(name) && params.text(name) !== 'off') throw new UserError(`${name} is not supported for sockets`);
    params.ignore(name);
  }
  params.ignore('delay', 'nodelay', 'tight', 'ipv4', 'ipv6');
  const server = params.switch('server') ?? false;
  const wait = params.switch('wait');
  if (!server && wait) throw new UserError("'wait' option is incompatible with socket in client connect mode");
  const telnet = params.switch('telnet') ?? false;
  const reconnectMillis = (params.number('reconnect') ?? 0) * 1000;
  if (server && reconnectMillis > 0)
    throw new UserError("'reconnect' option is incompatible with socket in server listen mode");
  const [path, host, port, fd] = ['path', 'host', 'port', 'fd'].map((name) => params.text(name));
  if ([path, port, fd].filter((one) => one !== undefined).length !== 1) {
    throw new UserError('one of path, port (with host) and fd is needed');
  }
  return {
    kind: 'socket',
    address:
      path !== undefined ? { kind: 'unix', path } : fd !== undefined ? { kind: 'fd', fd: fdOf(fd) } : inet(host, port!),
    server,
    wait: server && (wait ?? true),
    telnet,
    reconnectMillis,
  };
}

function fdOf(text: string): number {
  if (!/^\d+$/.test(text)) throw new UserError(`'${text}' is not the number of an open file`);
  return Number(text);
}

function inet(host: string | undefined, port: string) {
  if (!/^\d+$/.test(port) || Number(port) > PORT_MAX) throw new UserError(`'${port}' is not a port`);
  return { kind: 'inet', address: host === undefined || host === '' ? '0.0.0.0' : host, port: Number(port) } as const;
}

/** A short line as -serial takes it; `none` is undefined, `chardev:ID` names one that exists. */
export type LineConfig =
  | { readonly kind: 'chardev'; readonly id: string }
  | { readonly kind: 'new'; readonly config: ChardevConfig };

/** @param id For a chardev that the line makes. */
export function readLine(line: string, id: string): LineConfig | undefined {
  if (line === 'none') return undefined;
  if (line.startsWith('chardev:')) return { kind: 'chardev', id: line.slice('chardev:'.length) };
  const mux = line.startsWith('mon:');
  return { kind: 'new', config: { id, backend: backendOf(mux ? line.slice('mon:'.length) : line), mux } };
}

function backendOf(line: string): Backend {
  if (['stdio', 'pty', 'null'].includes(line)) return { kind: line } as CharBackendSpec | { kind: 'null' };
  // A window's line where there is no window.
  if (line === 'vc' || line.startsWith('vc:')) return { kind: 'null' };
  if (line === 'ringbuf') return { kind: 'ringbuf', sizeBytes: RINGBUF_BYTES };
  const [, scheme, rest] = /^(\w+):(.*)$/s.exec(line) ?? [];
  switch (scheme) {
    case 'file':
      return { kind: 'file', path: rest, append: false };
    case 'pipe':
      return { kind: 'pipe', path: rest };
    case 'unix':
      return readSocket(new ParamReader(parseParams(rest, 'path')));
    case 'tcp':
    case 'telnet': {
      const [, host, port, options] = /^(?:\[?([^\]]*?)\]?):(\d+)((?:,.*)?)$/s.exec(rest) ?? [];
      if (port === undefined) throw new UserError(`'${line}' needs a host and a port, as in ${scheme}:localhost:4444`);
      const params = parseParams(`host=${host},port=${port}${options}${scheme === 'telnet' ? ',telnet=on' : ''}`);
      return readSocket(new ParamReader(params));
    }
    default:
      throw new UserError(
        `'${line}' is no line: there are stdio, mon:stdio, pty, null, none, vc, ringbuf, file:PATH, pipe:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, chardev:ID`,
      );
  }
}
