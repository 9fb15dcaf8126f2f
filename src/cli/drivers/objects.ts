/** `--object` of the image programs: secrets and TLS credentials (QEMU, docs/system/secrets.rst and tls.rst). */
import { readFileSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import type { TlsCredentials, TlsFiles } from '../../host/node/index.ts';
import { parseSwitch } from '../img/arguments.ts';
import { parseKeyValues } from './options.ts';

export interface Objects {
  /** The bytes of a secret. @throws UserError when there is none of that id */
  secret(id: string): Uint8Array;
  /** @throws UserError when there are none of that id, or they are for the other side */
  tls(id: string, endpoint: 'server' | 'client'): Promise<TlsCredentials>;
}

interface Row {
  readonly kind: string;
  readonly values: ReadonlyMap<string, string>;
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  secret: ['data', 'file', 'format'],
  'tls-creds-x509': ['dir', 'endpoint', 'verify-peer', 'priority'],
  'tls-creds-psk': ['dir', 'endpoint', 'username', 'priority'],
  'tls-creds-anon': ['dir', 'endpoint', 'verify-peer', 'priority'],
};
const SECRET_BYTES_MAX = 2 ** 20;

/** Reads the texts of `--object` options; files are read when an object is used. @throws UserError that names what is wrong */
export function parseObjects(texts: readonly string[]): Objects {
  const rows = new Map<string, Row>();
  for (const text of texts) {
    const [kind, row, id] = parseObject(text);
    if (rows.has(id)) throw new UserError(`attempt to add duplicate property '${id}' to object`);
    rows.set(id, { kind, values: row });
  }
  const find = (id: string, prefix: string): Row => {
    const row = rows.get(id);
    if (row === undefined) throw new UserError(`No object with id '${id}': give it with --object ${prefix},id=${id},…`);
    if (!row.kind.startsWith(prefix)) throw new UserError(`Object with id '${id}' is not of kind ${prefix}`);
    return row;
  };
  return {
    secret: (id) => secretOf(id, find(id, 'secret').values),
    async tls(id, endpoint) {
      const { kind, values } = find(id, 'tls-creds');
      const given = values.get('endpoint') ?? 'client';
      if (given !== endpoint) throw new UserError(`Expecting TLS credentials with a ${endpoint} endpoint`);
      const folder = values.get('dir');
      if (folder === undefined) throw new UserError(`Object with id '${id}': dir=FOLDER is missing`);
      const username = values.get('username');
      const { loadTlsCredentials } = await import('../../host/node/index.ts');
      return loadTlsCredentials({
        kind: kind.slice('tls-creds-'.length) as TlsFiles['kind'],
        folder,
        endpoint,
        verifyPeer: parseSwitch('verify-peer', values.get('verify-peer') ?? 'on'),
        ...(username === undefined ? {} : { username }),
      });
    },
  };
}

function parseObject(text: string): [kind: string, values: Map<string, string>, id: string] {
  const [first] = text.split(',');
  const implied = first.includes('=') ? text : `qom-type=${text}`;
  const values = text.startsWith('{') ? jsonValues(text) : parseKeyValues(implied);
  const take = (key: string): string => {
    const value = values.get(key);
    values.delete(key);
    if (value === undefined) throw new UserError(`Parameter '${key}' is missing: --object KIND,id=ID,…`);
    return value;
  };
  const kind = take('qom-type');
  const id = take('id');
  if (!Object.hasOwn(KEYS, kind)) {
    throw new UserError(`--object ${kind}: not known; there are ${Object.keys(KEYS).join(', ')}`);
  }
  for (const key of values.keys()) {
    if (!KEYS[kind].includes(key)) throw new UserError(`Property '${kind}.${key}' not found`);
  }
  return [kind, values, id];
}

function jsonValues(text: string): Map<string, string> {
  try {
    return new Map(Object.entries(JSON.parse(text) as object).map(([key, value]) => [key, String(value)]));
  } catch {
    throw new UserError(`--object ${text}: not valid JSON`);
  }
}

function secretOf(id: string, values: ReadonlyMap<string, string>): Uint8Array {
  const [data, file, format = 'raw'] = [values.get('data'), values.get('file'), values.get('format')];
  if (format !== 'raw' && format !== 'base64') throw new UserError(`Secret '${id}': format is raw or base64`);
  if ((data === undefined) === (file === undefined)) {
    throw new UserError(`Secret '${id}': exactly one of 'data' and 'file' must be given`);
  }
  const bytes = file === undefined ? Buffer.from(data!, 'utf8') : readSecret(id, file);
  if (format === 'raw') return new Uint8Array(bytes);
  const decoded = Buffer.from(bytes.toString('latin1'), 'base64');
  if (decoded.toString('base64').replace(/=+$/, '') !== bytes.toString('latin1').replace(/[\s=]+/g, '')) {
    throw new UserError(`Secret '${id}': its data is no valid base64`);
  }
  return new Uint8Array(decoded);
}

function readSecret(id: string, path: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new UserError(`Secret '${id}': cannot read ${path}: ${(error as Error).message}`);
  }
  if (bytes.length > SECRET_BYTES_MAX) throw new UserError(`Secret '${id}': ${path} has more than 1 MiB`);
  return bytes;
}
