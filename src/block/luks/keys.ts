/** LUKS1 key slots: the master key split over many stripes, under a key made of a passphrase (sections 2.4 and 4). */
import { UserError } from '../../base/index.ts';
import type { BlockCrypto, BlockNode, HashName } from '../../contract/index.ts';
import { SECTOR_BYTES, sectorCipher } from '../crypto/sectors.ts';
import { viewOf } from '../layout.ts';
import { alignUp, readPadded } from '../request.ts';
import { DIGEST_BYTES, type KeySlot, type LuksHeader } from './header.ts';

/** Hashes a block piece by piece, each with its number before it. */
function diffuse(crypto: BlockCrypto, hash: HashName, block: Uint8Array): Uint8Array {
  const digestBytes = crypto.hash(hash, new Uint8Array(0)).length;
  const result = new Uint8Array(block.length);
  for (let at = 0, i = 0; at < block.length; at += digestBytes, i += 1) {
    const piece = block.subarray(at, at + digestBytes);
    const input = new Uint8Array(4 + piece.length);
    viewOf(input).setUint32(0, i);
    input.set(piece, 4);
    result.set(crypto.hash(hash, input).subarray(0, piece.length), at);
  }
  return result;
}

function xorInto(target: Uint8Array, source: Uint8Array): void {
  for (let i = 0; i < target.length; i += 1) target[i] ^= source[i];
}

/** What all stripes but the last come to. */
function spread(crypto: BlockCrypto, hash: HashName, material: Uint8Array, keyBytes: number, stripes: number) {
  let sum: Uint8Array = new Uint8Array(keyBytes);
  for (let i = 0; i < stripes - 1; i += 1) {
    xorInto(sum, material.subarray(i * keyBytes, (i + 1) * keyBytes));
    sum = diffuse(crypto, hash, sum);
  }
  return sum;
}

/** Anti-forensic split: losing any part of the result loses the key. */
export function splitKey(crypto: BlockCrypto, hash: HashName, key: Uint8Array, stripes: number): Uint8Array {
  const material = crypto.random(key.length * stripes);
  const last = spread(crypto, hash, material, key.length, stripes);
  xorInto(last, key);
  material.set(last, key.length * (stripes - 1));
  return material;
}

export function mergeKey(crypto: BlockCrypto, hash: HashName, material: Uint8Array, stripes: number): Uint8Array {
  const keyBytes = material.length / stripes;
  const key = spread(crypto, hash, material, keyBytes, stripes);
  xorInto(key, material.subarray(keyBytes * (stripes - 1)));
  return key;
}

async function slotCipher(crypto: BlockCrypto, header: LuksHeader, slot: KeySlot, secret: Uint8Array) {
  const key = await crypto.pbkdf2(header.hash, secret, slot.salt, slot.iterations, header.keyBytes);
  return sectorCipher(crypto, header.cipher, key);
}

/** The stripes of a slot as they are stored, in whole sectors. */
export async function sealSlot(
  crypto: BlockCrypto,
  header: LuksHeader,
  slot: KeySlot,
  secret: Uint8Array,
  masterKey: Uint8Array,
): Promise<Uint8Array> {
  const material = splitKey(crypto, header.hash, masterKey, slot.stripes);
  const sectors = new Uint8Array(alignUp(material.length, SECTOR_BYTES));
  sectors.set(material);
  return (await slotCipher(crypto, header, slot, secret)).encrypt(0, sectors);
}

/** The master key, when the passphrase is this slot's. */
export async function openSlot(
  crypto: BlockCrypto,
  file: BlockNode,
  offset: number,
  header: LuksHeader,
  slot: KeySlot,
  secret: Uint8Array,
): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(alignUp(slot.stripes * header.keyBytes, SECTOR_BYTES));
  await readPadded(file, offset + slot.sector * SECTOR_BYTES, bytes);
  (await slotCipher(crypto, header, slot, secret)).decrypt(0, bytes);
  const key = mergeKey(crypto, header.hash, bytes.subarray(0, slot.stripes * header.keyBytes), slot.stripes);
  const digest = await digestOf(crypto, header, key);
  return digest.every((byte, i) => byte === header.digest[i]) ? key : undefined;
}

export function digestOf(
  crypto: BlockCrypto,
  header: Pick<LuksHeader, 'hash' | 'digestSalt' | 'digestIterations'>,
  key: Uint8Array,
): Promise<Uint8Array> {
  return crypto.pbkdf2(header.hash, key, header.digestSalt, header.digestIterations, DIGEST_BYTES);
}

/** The master key, from whichever slot the passphrase opens. @throws UserError when it opens none */
export async function unlock(
  crypto: BlockCrypto,
  file: BlockNode,
  offset: number,
  header: LuksHeader,
  secret: Uint8Array,
  name: string,
): Promise<Uint8Array> {
  for (const slot of header.slots) {
    const key = slot.isActive ? await openSlot(crypto, file, offset, header, slot, secret) : undefined;
    if (key !== undefined) return key;
  }
  throw new UserError(`${name}: Invalid password, cannot unlock any keyslot`);
}
