/** Sectors of 512 bytes under AES, each with an initialization vector made of its number (LUKS1, dm-crypt). */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockCrypto, BlockNode, HashName } from '../../contract/index.ts';
import { rwLock } from '../lock.ts';
import { alignDown, alignUp, readPadded } from '../request.ts';

export const SECTOR_BYTES = 512;

export const CIPHER_MODES = ['xts', 'cbc', 'ecb'] as const;
export type CipherMode = (typeof CIPHER_MODES)[number];
export const IV_GENERATORS = ['plain64', 'plain', 'essiv'] as const;
export type IvGenerator = (typeof IV_GENERATORS)[number];

export interface CipherSpec {
  readonly mode: CipherMode;
  readonly ivGenerator: IvGenerator;
  /** Of essiv. */
  readonly ivHash?: HashName;
}

/** Encrypts and decrypts runs of sectors. */
export interface SectorCipher {
  encrypt(sector: number, source: Uint8Array): Uint8Array;
  /** In place. */
  decrypt(sector: number, bytes: Uint8Array): void;
}

/**
 * All sectors of a request go through AES at once, block by block (ECB), and what the
 * mode does between blocks is done here: a call of the host for each sector costs far more.
 */
export function sectorCipher(crypto: BlockCrypto, spec: CipherSpec, key: Uint8Array): SectorCipher {
  if (spec.mode === 'xts') return xtsCipher(crypto, spec, key);
  const blocks = crypto.aes('ecb', key);
  const ivsOf = ivGenerator(crypto, spec, key);
  if (spec.mode === 'ecb') {
    return {
      encrypt: (_, source) => blocks.encrypt(NO_IV, source),
      decrypt: (_, bytes) => bytes.set(blocks.decrypt(NO_IV, bytes)),
    };
  }
  const chained = crypto.aes('cbc', key);
  return {
    encrypt(sector, source) {
      const target = new Uint8Array(source.length);
      const ivs = ivsOf(sector, source.length / SECTOR_BYTES);
      for (let at = 0, i = 0; at < source.length; at += SECTOR_BYTES, i += IV_BYTES) {
        target.set(chained.encrypt(ivs.slice(i, i + IV_BYTES), source.subarray(at, at + SECTOR_BYTES)), at);
      }
      return target;
    },
    decrypt(sector, bytes) {
      const ivs = ivsOf(sector, bytes.length / SECTOR_BYTES);
      // Each block was mixed with the encrypted one before it; the first of a sector with the vector.
      const before = new Uint8Array(bytes.length);
      before.set(bytes.subarray(0, bytes.length - IV_BYTES), IV_BYTES);
      for (let at = 0, i = 0; at < bytes.length; at += SECTOR_BYTES, i += IV_BYTES) {
        before.set(ivs.subarray(i, i + IV_BYTES), at);
      }
      mix(before, blocks.decrypt(NO_IV, bytes));
      bytes.set(before);
    },
  };
}

const NO_IV = new Uint8Array(0);
const IV_BYTES = 16;

/** `target` xor `source`, which begins at a multiple of 4 bytes of its memory or is copied. */
function mix(target: Uint8Array, source: Uint8Array): void {
  const aligned = source.byteOffset % 4 === 0 ? source : source.slice();
  const a = new Uint32Array(target.buffer, target.byteOffset, target.length / 4);
  const b = new Uint32Array(aligned.buffer, aligned.byteOffset, a.length);
  for (let i = 0; i < a.length; i += 1) a[i] ^= b[i];
}

/** XTS (IEEE 1619): two keys, one for the tweak of each sector, which is doubled from block to block. */
function xtsCipher(crypto: BlockCrypto, spec: CipherSpec, key: Uint8Array): SectorCipher {
  const data = crypto.aes('ecb', key.subarray(0, key.length / 2));
  const tweaks = crypto.aes('ecb', key.subarray(key.length / 2));
  const ivsOf = ivGenerator(crypto, spec, key);
  const tweaksOf = (sector: number, bytes: number): Uint8Array => {
    const sectors = bytes / SECTOR_BYTES;
    const firsts = tweaks.encrypt(NO_IV, ivsOf(sector, sectors)).slice();
    const words = new Uint32Array(bytes / 4);
    const view = new DataView(firsts.buffer, firsts.byteOffset);
    for (let i = 0; i < sectors; i += 1) {
      let [a, b, c, d] = [0, 4, 8, 12].map((at) => view.getUint32(i * IV_BYTES + at, true));
      for (let at = (i * SECTOR_BYTES) / 4, end = at + SECTOR_BYTES / 4; at < end; at += 4) {
        words[at] = a;
        words[at + 1] = b;
        words[at + 2] = c;
        words[at + 3] = d;
        const carry = d >>> 31 === 1 ? 0x87 : 0;
        d = (d << 1) | (c >>> 31);
        c = (c << 1) | (b >>> 31);
        b = (b << 1) | (a >>> 31);
        a = (a << 1) ^ carry;
      }
    }
    return new Uint8Array(words.buffer);
  };
  const run = (sector: number, source: Uint8Array, through: (bytes: Uint8Array) => Uint8Array): Uint8Array => {
    const tweak = tweaksOf(sector, source.length);
    const mixed = tweak.slice();
    mix(mixed, source);
    mix(tweak, through(mixed));
    return tweak;
  };
  return {
    encrypt: (sector, source) => run(sector, source, (bytes) => data.encrypt(NO_IV, bytes)),
    decrypt: (sector, bytes) => bytes.set(run(sector, bytes, (encrypted) => data.decrypt(NO_IV, encrypted))),
  };
}

/** The initialization vectors of so many sectors, one after the other. */
function ivGenerator(
  crypto: BlockCrypto,
  spec: CipherSpec,
  key: Uint8Array,
): (sector: number, count: number) => Uint8Array {
  const plain = (first: number, count: number) => {
    const view = new DataView(new ArrayBuffer(count * IV_BYTES));
    for (let i = 0; i < count; i += 1) {
      const sector = first + i;
      view.setUint32(i * IV_BYTES, sector % 2 ** 32, true);
      if (spec.ivGenerator !== 'plain') view.setUint32(i * IV_BYTES + 4, Math.floor(sector / 2 ** 32), true);
    }
    return new Uint8Array(view.buffer);
  };
  if (spec.ivGenerator !== 'essiv') return plain;
  const salted = crypto.aes('ecb', crypto.hash(spec.ivHash ?? 'sha256', key));
  return (first, count) => salted.encrypt(NO_IV, plain(first, count)).slice();
}

/** Reads and writes that are encrypted on the way. */
export interface EncryptedIo {
  /** Fills `target` from `offset` of the node; `ivOffset` is where the sectors are counted from, equal modulo a sector. */
  read(node: BlockNode, offset: number, ivOffset: number, target: Uint8Array): Promise<void>;
  write(node: BlockNode, offset: number, ivOffset: number, source: Uint8Array): Promise<void>;
}

export function encryptedIo(cipher: SectorCipher): EncryptedIo {
  // A write of a part of a sector reads the rest of it first: nobody may change that meanwhile.
  const lock = rwLock();
  const readWhole = async (node: BlockNode, offset: number, ivOffset: number, length: number) => {
    const start = alignDown(offset, SECTOR_BYTES);
    const bytes = new Uint8Array(alignUp(offset + length, SECTOR_BYTES) - start);
    await readPadded(node, start, bytes);
    cipher.decrypt(alignDown(ivOffset, SECTOR_BYTES) / SECTOR_BYTES, bytes);
    return { start, bytes };
  };
  const io: EncryptedIo = {
    async read(node, offset, ivOffset, target) {
      const { start, bytes } = await readWhole(node, offset, ivOffset, target.length);
      target.set(bytes.subarray(offset - start, offset - start + target.length));
    },
    write(node, offset, ivOffset, source) {
      const sector = alignDown(ivOffset, SECTOR_BYTES) / SECTOR_BYTES;
      if (offset % SECTOR_BYTES === 0 && source.length % SECTOR_BYTES === 0) {
        const encrypted = cipher.encrypt(sector, source);
        return lock.shared(() => node.write(offset, encrypted));
      }
      return lock.exclusive(async () => {
        const { start, bytes } = await readWhole(node, offset, ivOffset, source.length);
        bytes.set(source, offset - start);
        await node.write(start, cipher.encrypt(sector, bytes));
      });
    },
  };
  return io;
}

/** For images that were opened without their secret: what they are can be told, what is in them cannot. */
export function lockedIo(name: string, option: string): EncryptedIo {
  const refuse = () => Promise.reject(new IoError('io', `${name}: it is encrypted: parameter '${option}' is required`));
  return { read: refuse, write: refuse };
}

/** @throws UserError when the host has no cryptography */
export function cryptoOf(name: string, crypto: BlockCrypto | undefined): BlockCrypto {
  if (crypto === undefined) throw new UserError(`${name}: it is encrypted, and no cryptography was given`);
  return crypto;
}

/** The key of qcow's first encryption: the passphrase's bytes, filled up with zeros or cut. */
export function legacyAesCipher(crypto: BlockCrypto, secret: Uint8Array): SectorCipher {
  const key = new Uint8Array(16);
  key.set(secret.subarray(0, 16));
  return sectorCipher(crypto, { mode: 'cbc', ivGenerator: 'plain64' }, key);
}
