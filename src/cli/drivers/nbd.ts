/** NBD exports as images. */
import { UserError } from '../../base/index.ts';
import { alignFilter, type NbdAddress, openNbd, parseNbdName } from '../../block/index.ts';
import type { BlockNode, HostEndpoint } from '../../contract/index.ts';
import { connectByteStream, systemClock } from '../../host/node/index.ts';
import { type DriverOptions, take } from './options.ts';
import type { OpenHow } from './registry.ts';

/** Opens an export by its options. @throws UserError that names it */
export function openNbdNode(options: DriverOptions, how: OpenHow): Promise<BlockNode> {
  const name = take(options, 'uri') ?? nbdNameOf(options);
  const connection = Object.fromEntries(CONNECTION_KEYS.map((key) => [key, take(options, key)]));
  return openExport(name, connection, how);
}

const CONNECTION_KEYS = [
  'tls-creds',
  'tls-hostname',
  'reconnect-delay',
  'open-timeout',
  'x-dirty-bitmap',
  'connections',
] as const;
type Connection = Partial<Record<(typeof CONNECTION_KEYS)[number], string>>;
const CONNECTIONS_MAX = 16;

/** The name of an export that was given by `driver=nbd` and its options. @throws UserError for options that are missing */
function nbdNameOf(options: DriverOptions): string {
  const either = (...keys: string[]) => keys.map((key) => take(options, key)).find((value) => value !== undefined);
  const kind = either('server.type', 'type');
  const path = either('server.path', 'path');
  const host = either('server.host', 'host');
  const port = either('server.port', 'port') ?? '10809';
  const exportName = encodeURIComponent(take(options, 'export') ?? '');
  if (path !== undefined && kind !== 'inet') return `nbd+unix:///${exportName}?socket=${encodeURIComponent(path)}`;
  if (host === undefined) throw new UserError("driver 'nbd': give it 'host' and 'port', or 'path'");
  return `nbd://${host.includes(':') ? `[${host}]` : host}:${port}/${exportName}`;
}

/** Opens an export. @throws UserError that names it */
async function openExport(name: string, given: Connection, { objects, readOnly }: OpenHow): Promise<BlockNode> {
  const address = parseNbdName(name)!;
  const bitmap = given['x-dirty-bitmap'];
  const credentials = given['tls-creds'];
  if (address.useTls && credentials === undefined) throw new UserError(`${name}: TLS needs the option tls-creds`);
  const tls = credentials === undefined ? undefined : await objects.tls(credentials, 'client');
  const hostname = given['tls-hostname'];
  const streamOptions = { ...(tls === undefined ? {} : { tls }), ...(hostname === undefined ? {} : { hostname }) };
  const reconnectNanos = seconds(name, 'reconnect-delay', given['reconnect-delay']);
  const connections = Number(given.connections ?? '1');
  if (!(connections >= 1 && connections <= CONNECTIONS_MAX)) {
    throw new UserError(`${name}: connections is a number from 1 to ${CONNECTIONS_MAX}`);
  }
  const timeoutNanos = seconds(name, 'open-timeout', given['open-timeout']);
  const connect = () => connectByteStream(address.endpoint, streamOptions);
  await waitForServer(address, connect, timeoutNanos);
  try {
    const node = await openNbd({
      name,
      exportName: address.exportName,
      useTls: tls !== undefined,
      connect,
      readOnly,
      connections,
      clock: systemClock(),
      reconnectNanos,
      ...(bitmap === undefined ? {} : { allocationContext: bitmap }),
    });
    return alignFilter(node);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`Could not open '${name}': ${error.message.replace(`${name}: `, '')}`);
  }
}

/** Waits up to `nanos` until somebody listens (open-timeout). */
async function waitForServer(
  { endpoint }: NbdAddress,
  connect: (to: HostEndpoint) => ReturnType<typeof connectByteStream>,
  nanos: number,
): Promise<void> {
  const deadline = performance.now() + nanos / 1e6;
  while (performance.now() < deadline) {
    try {
      (await connect(endpoint)).destroy();
      return;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function seconds(name: string, key: string, text: string | undefined): number {
  const value = Number(text ?? '0');
  if (!(value >= 0 && value <= 2 ** 31)) throw new UserError(`${name}: ${key} is a number of seconds, not '${text}'`);
  return value * 1e9;
}
