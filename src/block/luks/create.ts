/** Makes LUKS1 headers, laid out as QEMU does. */
import { UserError } from '../../base/index.ts';
import type { BlockCrypto, BlockNode, HashName } from '../../contract/index.ts';
import { type CipherSpec, SECTOR_BYTES } from '../crypto/sectors.ts';
import { alignUp } from '../request.ts';
import {
  DIGEST_BYTES,
  encodeLuksHeader,
  ITERATIONS_MAX,
  type KeySlot,
  type LuksHeader,
  SALT_BYTES,
  SLOTS,
  STRIPES,
} from './header.ts';
import { digestOf, sealSlot } from './keys.ts';

const SLOTS_OFFSET = 4096;
const ITERATIONS_MIN = 1000;
/** The digest of the master key takes a share of the time that a slot's takes. */
const DIGEST_SHARE = 8;

export interface LuksOptions {
  readonly secret: Uint8Array;
  readonly crypto: BlockCrypto;
  /** Default: xts with plain64. */
  readonly cipher?: CipherSpec;
  readonly keyBits?: 128 | 192 | 256;
  readonly hash?: HashName;
  /** How long opening shall take on this machine; default 2000. */
  readonly iterationMillis?: number;
}

function keyBytesOf({ cipher = DEFAULT_CIPHER, keyBits = 256 }: Pick<LuksOptions, 'cipher' | 'keyBits'>): number {
  if (cipher.mode === 'xts' && keyBits === 192)
    throw new UserError('XTS mode with AES-192 is not supported: use aes-128 or aes-256');
  return (keyBits / 8) * (cipher.mode === 'xts' ? 2 : 1);
}

const DEFAULT_CIPHER: CipherSpec = { mode: 'xts', ivGenerator: 'plain64' };

function slotSectors(keyBytes: number): number {
  return alignUp(Math.ceil((keyBytes * STRIPES) / SECTOR_BYTES), SLOTS_OFFSET / SECTOR_BYTES);
}

/** Bytes from the beginning of the header to the data. */
export function luksPayloadOffset(options: Pick<LuksOptions, 'cipher' | 'keyBits'>): number {
  return SLOTS_OFFSET + SLOTS * slotSectors(keyBytesOf(options)) * SECTOR_BYTES;
}

function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte, i) => {
    const value = i === 6 ? (byte & 0x0f) | 0x40 : i === 8 ? (byte & 0x3f) | 0x80 : byte;
    return value.toString(16).padStart(2, '0');
  }).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Rounds that make opening a slot take so long on this machine. */
export async function iterationsFor(
  crypto: BlockCrypto,
  hash: HashName,
  keyBytes: number,
  iterationMillis: number,
): Promise<number> {
  if (!(iterationMillis > 0)) throw new UserError('iter-time must be at least 1 millisecond');
  const rate = await crypto.pbkdf2Rate(hash, keyBytes);
  const most = Math.floor((ITERATIONS_MAX * 1000) / rate);
  if (iterationMillis > most) throw new UserError(`iter-time must be at most ${most} milliseconds on this machine`);
  return Math.max(ITERATIONS_MIN, Math.floor((rate * iterationMillis) / 1000));
}

/** Writes a header with one key slot at `offset` of `file`; what lies between it and the data is zeros. */
export async function writeLuksHeader(file: BlockNode, offset: number, options: LuksOptions): Promise<void> {
  const { crypto, secret, cipher = DEFAULT_CIPHER, hash = 'sha256', iterationMillis = 2000 } = options;
  if (secret.length === 0) throw new UserError('the secret of an encrypted image may not be empty');
  const keyBytes = keyBytesOf(options);
  const wanted = await iterationsFor(crypto, hash, keyBytes, iterationMillis);
  const masterKey = crypto.random(keyBytes);
  const slots = Array.from({ length: SLOTS }, (_, i): KeySlot => {
    const sector = SLOTS_OFFSET / SECTOR_BYTES + i * slotSectors(keyBytes);
    const isActive = i === 0;
    const salt = isActive ? crypto.random(SALT_BYTES) : new Uint8Array(SALT_BYTES);
    return { isActive, iterations: isActive ? wanted : 0, salt, sector, stripes: STRIPES };
  });
  const blank: LuksHeader = {
    cipher,
    hash,
    payloadSectors: luksPayloadOffset(options) / SECTOR_BYTES,
    keyBytes,
    digest: new Uint8Array(DIGEST_BYTES),
    digestSalt: crypto.random(SALT_BYTES),
    digestIterations: Math.max(ITERATIONS_MIN, Math.floor(wanted / DIGEST_SHARE)),
    uuid: uuidText(crypto.random(16)),
    slots,
  };
  const header = { ...blank, digest: await digestOf(crypto, blank, masterKey) };
  const bytes = new Uint8Array(header.payloadSectors * SECTOR_BYTES);
  bytes.set(encodeLuksHeader(header));
  bytes.set(await sealSlot(crypto, header, slots[0], secret, masterKey), slots[0].sector * SECTOR_BYTES);
  await file.write(offset, bytes);
}

/** Makes a LUKS volume of `sizeBytes` in an empty file. @throws UserError that names the option */
export async function createLuks(file: BlockNode, sizeBytes: number, options: LuksOptions): Promise<void> {
  await writeLuksHeader(file, 0, options);
  await file.resize!(luksPayloadOffset(options) + sizeBytes);
  await file.flush();
}
