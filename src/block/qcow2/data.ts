/** Guest data on their way to and from the file; encrypted in images that are. Metadata never is. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { cryptoOf, type EncryptedIo, encryptedIo, legacyAesCipher, lockedIo } from '../crypto/sectors.ts';
import type { OpenOptions } from '../format.ts';
import { layout, u64be } from '../layout.ts';
import { readLuksHeader } from '../luks/header.ts';
import { cipherOf, luksInfo } from '../luks/index.ts';
import { readPadded } from '../request.ts';
import { EXTENSION, LIMITS, type Qcow2Header } from './header.ts';
import type { Image } from './image.ts';

export const CRYPT = { none: 0, aes: 1, luks: 2 } as const;

export const encryptionExtension = layout({ offset: u64be, length: u64be });

export interface Encryption {
  readonly io: EncryptedIo;
  /** Sectors are counted in the file (LUKS), or on the disk (AES). */
  readonly byHost: boolean;
  /** What `info` tells. */
  readonly info: Readonly<Record<string, unknown>>;
}

/** Where the LUKS header lies in the file; undefined in images without. @throws UserError when it lies badly */
export function luksPlace(header: Qcow2Header, name: string): { offset: number; length: number } | undefined {
  if (header.cryptMethod !== CRYPT.luks) return undefined;
  const found = header.extensions.find(({ type }) => type === EXTENSION.encryption);
  if (found === undefined || found.data.length < encryptionExtension.size) {
    throw new UserError(
      `${name}: not a usable qcow2 image: it is encrypted with LUKS and does not say where its header is`,
    );
  }
  const place = encryptionExtension.read(found.data);
  if (place.offset % 2 ** header.clusterBits !== 0 || place.offset + place.length > LIMITS.offset) {
    throw new UserError(`${name}: not a usable qcow2 image: its LUKS header is not at a cluster's offset`);
  }
  return place;
}

/** @throws UserError for a wrong secret or a method that is not known */
export async function openEncryption(
  file: BlockNode,
  header: Qcow2Header,
  options: OpenOptions,
): Promise<Encryption | undefined> {
  const { name, secret } = options;
  const locked = lockedIo(name, 'encrypt.key-secret');
  if (header.cryptMethod === CRYPT.none) return undefined;
  if (header.cryptMethod === CRYPT.aes) {
    const io = secret === undefined ? locked : encryptedIo(legacyAesCipher(cryptoOf(name, options.crypto), secret));
    return { io, byHost: false, info: { format: 'aes' } };
  }
  const place = luksPlace(header, name)!;
  const luks = await readLuksHeader(file, name, place.offset);
  const info = luksInfo(luks, { format: 'luks' });
  if (secret === undefined) return { io: locked, byHost: true, info };
  return { io: encryptedIo(await cipherOf(file, place.offset, luks, options, secret)), byHost: true, info };
}

/** Fills `target` from `host` in the data file, which holds what is at `disk` of the disk. */
export function readData(image: Image, host: number, disk: number, target: Uint8Array): Promise<void> {
  const { encryption, dataFile } = image;
  if (encryption === undefined) return readPadded(dataFile, host, target);
  return encryption.io.read(dataFile, host, encryption.byHost ? host : disk, target);
}

export function writeData(image: Image, host: number, disk: number, source: Uint8Array): Promise<void> {
  const { encryption, dataFile } = image;
  if (encryption === undefined) return dataFile.write(host, source);
  return encryption.io.write(dataFile, host, encryption.byHost ? host : disk, source);
}
