/** The options of encrypted images that are about to be made. */
import { UserError } from '../../base/index.ts';
import { createLuks, type LuksOptions } from '../../block/index.ts';
import type { HashName } from '../../contract/index.ts';
import { nodeCrypto } from '../../host/node/block.ts';
import type { Objects } from '../drivers/objects.ts';
import { parseSwitch } from './arguments.ts';
import type { CreateValues, Creator } from './creators.ts';
import { makeFile } from './make-file.ts';

const KEY_BITS = { 'aes-256': 256, 'aes-192': 192, 'aes-128': 128 } as const;

function oneOf<T extends string>(values: CreateValues, key: string, allowed: readonly T[]): T {
  const text = values.get(key) ?? allowed[0];
  const found = allowed.find((candidate) => candidate === text);
  if (found === undefined) throw new UserError(`Invalid parameter '${text}': ${key} is one of ${allowed.join(', ')}`);
  return found;
}

/** @param prefix of the options' names, e.g. `encrypt.` */
export function luksOptions(values: CreateValues, prefix: string, objects: Objects): LuksOptions {
  const key = (name: string) => `${prefix}${name}`;
  const id = values.get(key('key-secret'));
  if (id === undefined) throw new UserError(`Parameter '${key('key-secret')}' is required for cipher`);
  const mode = oneOf(values, key('cipher-mode'), ['xts', 'cbc', 'ecb']);
  const ivGenerator = oneOf(values, key('ivgen-alg'), ['plain64', 'plain', 'essiv']);
  if (ivGenerator === 'essiv') oneOf(values, key('ivgen-hash-alg'), ['sha256']);
  const millis = Number(values.get(key('iter-time')) ?? '2000');
  if (!Number.isInteger(millis))
    throw new UserError(`Parameter '${key('iter-time')}' expects a number of milliseconds`);
  return {
    secret: objects.secret(id),
    crypto: nodeCrypto,
    cipher: { mode, ivGenerator, ...(ivGenerator === 'essiv' ? { ivHash: 'sha256' } : {}) },
    keyBits: KEY_BITS[oneOf(values, key('cipher-alg'), ['aes-256', 'aes-192', 'aes-128'])],
    hash: oneOf<HashName>(values, key('hash-alg'), ['sha256', 'sha1', 'sha512']),
    iterationMillis: millis,
  };
}

/** How a qcow2 is to be encrypted, if it is. */
export function qcow2Encryption(values: CreateValues, objects: Objects) {
  const isLegacy = parseSwitch('encryption', values.get('encryption') ?? 'off');
  if (isLegacy && values.has('encrypt.format')) {
    throw new UserError("Options 'encryption' and 'encrypt.format' are mutually exclusive");
  }
  if (!isLegacy && !values.has('encrypt.format')) return undefined;
  const format = isLegacy ? 'aes' : oneOf(values, 'encrypt.format', ['luks', 'aes']);
  if (format === 'luks') return { format, ...luksOptions(values, 'encrypt.', objects) } as const;
  const id = values.get('encrypt.key-secret');
  if (id === undefined) throw new UserError("Parameter 'encrypt.key-secret' is required for cipher");
  objects.secret(id);
  return { format } as const;
}

export const luksCreator: Creator = {
  create: (path, values, sizeBytes, objects) =>
    makeFile(path, (file) => createLuks(file, sizeBytes, luksOptions(values, '', objects))),
  describe: (values, sizeBytes) => `size=${sizeBytes}${[...values].map(([key, value]) => ` ${key}=${value}`).join('')}`,
};
