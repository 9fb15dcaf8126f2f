/** Images behind http and https (QEMU's curl driver): `http://…`, or `driver=https,url=…`. */
import { UserError } from '../../base/index.ts';
import { httpNode } from '../../block/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { type HttpSourceOptions, openHttpSource } from '../../host/node/index.ts';
import { parseBytes, parseSwitch } from '../img/arguments.ts';
import { type DriverOptions, take } from './options.ts';
import type { OpenHow } from './registry.ts';

const TIMEOUT_SECONDS_MAX = 10_000;

/** @throws UserError that names the option, or the URL and what is wrong with it */
export async function openHttpNode(name: 'http' | 'https', options: DriverOptions, how: OpenHow): Promise<BlockNode> {
  const url = take(options, 'url') ?? take(options, 'filename');
  if (url === undefined) throw new UserError(`driver '${name}': url=URL is missing`);
  if (!URL.canParse(url) || new URL(url).protocol !== `${name}:`) {
    throw new UserError(`driver '${name}': '${url}' is no URL that begins with ${name}://`);
  }
  if (!how.readOnly) throw new UserError(`Could not open '${url}': images over ${name} can only be read`);
  const readAhead = take(options, 'readahead');
  const source = await openHttpSource(url, sourceOptions(options, how));
  return httpNode(source, {
    name: url,
    ...(readAhead === undefined ? {} : { readAheadBytes: parseBytes(readAhead, 'readahead') }),
  });
}

function sourceOptions(options: DriverOptions, { objects }: OpenHow): HttpSourceOptions {
  const secret = (key: string) => {
    const id = take(options, key);
    return id === undefined ? undefined : Buffer.from(objects.secret(id)).toString('utf8');
  };
  const timeout = Number(take(options, 'timeout') ?? '5');
  if (!(timeout > 0) || timeout > TIMEOUT_SECONDS_MAX) throw new UserError('timeout is a number of seconds above 0');
  const cookie = take(options, 'cookie') ?? secret('cookie-secret');
  const username = take(options, 'username');
  const password = secret('password-secret');
  return {
    timeoutMillis: timeout * 1000,
    verifyTls: parseSwitch('sslverify', take(options, 'sslverify') ?? 'on'),
    ...(cookie === undefined ? {} : { cookie }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  };
}
