/** Images in a Ceph cluster: `rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:conf=FILE][:id=USER]`, or `driver=rbd,pool=…`. */
import { UserError } from '../../base/index.ts';
import { createRbdImage, openRbdNode, type RbdPlace } from '../../host/node/index.ts';
import { type DriverOptions, take } from './options.ts';
import type { Protocol } from './registry.ts';

/** What QEMU's driver takes beyond these; a configuration file says the same. */
const REFUSED = /^(key-secret|auth-client-required|server\..*|encrypt\..*|=keyvalue-pairs)$/;
const PREFIX = 'rbd:';

/** @throws UserError for options that are missing or not supported */
function placeOf(options: DriverOptions): RbdPlace {
  const filename = take(options, 'filename');
  for (const [key, value] of filename === undefined ? [] : parseRbdName(filename)) options.set(key, value);
  const refused = [...options.keys()].find((key) => REFUSED.test(key));
  if (refused !== undefined) {
    throw new UserError(`driver 'rbd': '${refused}' is not supported: put it into a file and name that by conf=FILE`);
  }
  const wanted = (key: string) => {
    const value = take(options, key);
    if (!value) throw new UserError(`driver 'rbd': ${key}=NAME is missing`);
    return value;
  };
  const place = {
    pool: wanted('pool'),
    namespace: take(options, 'namespace') || undefined,
    image: wanted('image'),
    snapshot: take(options, 'snapshot') || undefined,
    conf: take(options, 'conf'),
    user: take(options, 'user'),
  };
  const { pool, namespace, image, snapshot } = place;
  const path = [pool, ...(namespace === undefined ? [] : [namespace]), image].join('/');
  return { ...place, name: `${PREFIX}${path}${snapshot === undefined ? '' : `@${snapshot}`}` };
}

export const rbdDriver = {
  open(options, how) {
    const { direct, noFlush, writeThrough } = how.cache;
    return openRbdNode({ ...placeOf(options), readOnly: how.readOnly, direct, noFlush, writeThrough });
  },
  create: (options, sizeBytes) => createRbdImage(placeOf(options), sizeBytes),
} satisfies Pick<Protocol, 'open' | 'create'>;

/** The parts of a name as options. A backslash takes the meaning off the character after it. */
function parseRbdName(name: string): DriverOptions {
  const bad = (why: string): never => {
    throw new UserError(`${name}: ${why}: it is ${PREFIX}POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:conf=FILE][:id=USER]`);
  };
  if (!name.startsWith(PREFIX)) bad('it is no name of an rbd image');
  const [path, ...pairs] = split(name.slice(PREFIX.length), ':');
  const [base, snapshot, ...tooMany] = split(path, '@');
  const parts = split(base, '/');
  if (tooMany.length > 0) bad('it has more than one snapshot');
  if (parts.length < 2 || parts.length > 3 || parts.includes('') || snapshot === '') bad('its parts are wrong');
  const options: DriverOptions = new Map([
    ['pool', plain(parts[0])],
    ['image', plain(parts.at(-1)!)],
  ]);
  if (parts.length === 3) options.set('namespace', plain(parts[1]));
  if (snapshot !== undefined) options.set('snapshot', plain(snapshot));
  for (const pair of pairs) {
    const [key, ...value] = split(pair, '=');
    if (key !== 'conf' && key !== 'id') bad(`option '${plain(key)}' is not supported, put it into the file of conf`);
    if (value.length === 0) bad(`option '${key}' has no value`);
    options.set(key === 'id' ? 'user' : key, plain(value.join('=')));
  }
  return options;
}

/** At every `separator` without a backslash before it. */
function split(text: string, separator: string): string[] {
  const parts = [''];
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === separator) parts.push('');
    else parts[parts.length - 1] += text[i] === '\\' ? text[i] + (text[++i] ?? '') : text[i];
  }
  return parts;
}

function plain(text: string): string {
  return text.replace(/\\(.)/gs, '$1');
}
