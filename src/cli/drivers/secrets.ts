/** How encrypted images get their secrets: `key-secret=ID` of a `--object secret`. */
import { UserError } from '../../base/index.ts';
import { legacyAesCipher, type OpenOptions } from '../../block/core.ts';
import { nodeCrypto } from '../../host/node/block.ts';
import { type DriverOptions, take } from './options.ts';
import type { FormatDriver, OpenHow } from './registry.ts';

function secretOf(options: DriverOptions, key: string, how: OpenHow): Uint8Array | undefined {
  const id = take(options, key);
  return id === undefined ? undefined : how.objects.secret(id);
}

/** LUKS as a format. */
export const luksSecret: FormatDriver['openOptions'] = (options, how) => secretAt(options, 'key-secret', how);

export const qcow2Secret: FormatDriver['openOptions'] = (options, how) => {
  const format = take(options, 'encrypt.format');
  if (format !== undefined && format !== 'luks' && format !== 'aes') {
    throw new UserError(`Invalid parameter '${format}': encrypt.format is luks or aes`);
  }
  return secretAt(options, 'encrypt.key-secret', how);
};

export const qcowSecret: FormatDriver['openOptions'] = (options, how) => {
  take(options, 'encrypt.format');
  const secret = secretOf(options, 'encrypt.key-secret', how);
  if (secret === undefined) return {};
  const aes = legacyAesCipher(nodeCrypto, secret);
  return {
    cipher: {
      encrypt: (sector, bytes) => bytes.set(aes.encrypt(sector, bytes)),
      decrypt: (sector, bytes) => aes.decrypt(sector, bytes),
    },
  };
};

function secretAt(options: DriverOptions, key: string, how: OpenHow): Partial<OpenOptions> {
  const secret = secretOf(options, key, how);
  return secret === undefined ? {} : { secret };
}
