/** Range requests over http and https by Node's own client. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { IoError, UserError } from '../../base/index.ts';

export interface HttpSourceOptions {
  readonly timeoutMillis?: number;
  /** False: accept any certificate. */
  readonly verifyTls?: boolean;
  readonly username?: string;
  readonly password?: string;
  readonly cookie?: string;
}

/** The block room's `RangeSource`. */
export interface HttpSource {
  readonly sizeBytes: number;
  fetch(offset: number, length: number): Promise<Uint8Array>;
  close(): void;
}

const TIMEOUT_MILLIS = 5000;
const REDIRECTS_MAX = 5;

/** Asks for the size of a resource. @throws UserError that names the URL and what is wrong */
export async function openHttpSource(url: string, options: HttpSourceOptions = {}): Promise<HttpSource> {
  const agent = url.startsWith('https:')
    ? new HttpsAgent({ keepAlive: true, maxSockets: 8, rejectUnauthorized: options.verifyTls !== false })
    : new HttpAgent({ keepAlive: true, maxSockets: 8 });
  const fail = (what: string): never => {
    throw new UserError(`Could not open '${url}': ${what}`);
  };
  try {
    const { response, place, how } = await follow(url, agent, options);
    response.resume();
    const { statusCode = 0, headers } = response;
    if (statusCode !== 200) fail(`the server answered ${statusCode} ${response.statusMessage ?? ''}`.trim());
    const sizeBytes = Number(headers['content-length'] ?? Number.NaN);
    if (!Number.isSafeInteger(sizeBytes)) fail('the server does not tell its size');
    if (headers['accept-ranges'] !== 'bytes') fail("Server does not support 'range' (byte ranges).");
    const { etag } = headers;
    return {
      sizeBytes,
      fetch: (offset, length) => fetchRange(place, agent, how, { offset, length, sizeBytes, etag }),
      close: () => agent.destroy(),
    };
  } catch (error) {
    agent.destroy();
    if (error instanceof UserError) throw error;
    return fail((error as Error).message);
  }
}

/** HEAD, and again where it is redirected to. */
async function follow(url: string, agent: HttpAgent, options: HttpSourceOptions) {
  let place = url;
  let how = options;
  for (let count = 0; ; count += 1) {
    const response = await send(place, 'HEAD', {}, agent, how);
    const { location } = response.headers;
    if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined)
      return { response, place, how };
    response.resume();
    if (count === REDIRECTS_MAX)
      throw new UserError(`Could not open '${url}': more than ${REDIRECTS_MAX} redirections`);
    const next = new URL(location, place);
    // Another scheme would need another agent, and from https to http nobody should be led.
    if (next.protocol !== new URL(url).protocol)
      throw new UserError(`Could not open '${url}': it leads to ${next.href}`);
    // What was given for one host is not for another.
    if (next.host !== new URL(place).host) {
      const { username: _, password: __, cookie: ___, ...rest } = how;
      how = rest;
    }
    place = next.href;
  }
}

function send(
  url: string,
  method: string,
  headers: Record<string, string>,
  agent: HttpAgent,
  { timeoutMillis = TIMEOUT_MILLIS, username, password, cookie }: HttpSourceOptions,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const settings: RequestOptions = {
      method,
      agent,
      headers: { ...headers, 'accept-encoding': 'identity', ...(cookie === undefined ? {} : { cookie }) },
      ...(username === undefined ? {} : { auth: `${username}:${password ?? ''}` }),
    };
    const start = url.startsWith('https:') ? httpsRequest : httpRequest;
    const request = start(url, settings, resolve);
    request.setTimeout(timeoutMillis, () => request.destroy(new Error(`no answer for ${timeoutMillis} ms`)));
    request.on('error', reject);
    request.end();
  });
}

interface Range {
  readonly offset: number;
  readonly length: number;
  readonly sizeBytes: number;
  readonly etag: string | undefined;
}

async function fetchRange(
  url: string,
  agent: HttpAgent,
  options: HttpSourceOptions,
  { offset, length, sizeBytes, etag }: Range,
): Promise<Uint8Array> {
  const fail = (what: string) => new IoError('io', `${url}: ${length} bytes at ${offset}: ${what}`);
  try {
    const response = await send(url, 'GET', { range: `bytes=${offset}-${offset + length - 1}` }, agent, options);
    const { statusCode, headers } = response;
    const told = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers['content-range'] ?? '');
    const isRight = statusCode === 206 && told !== null && Number(told[1]) === offset;
    const isChanged = told !== null && ((told[2] !== '*' && Number(told[2]) !== sizeBytes) || headers.etag !== etag);
    if (!isRight || isChanged) {
      response.destroy();
      throw fail(isRight ? 'the resource has changed' : `the server answered ${statusCode} instead of this range`);
    }
    const bytes = new Uint8Array(length);
    let filled = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (filled + chunk.length > length) throw fail('the server sent more than it was asked for');
      bytes.set(chunk, filled);
      filled += chunk.length;
    }
    if (filled < length) throw fail(`the server sent ${filled} bytes only`);
    return bytes;
  } catch (error) {
    throw error instanceof IoError ? error : fail((error as Error).message);
  }
}
