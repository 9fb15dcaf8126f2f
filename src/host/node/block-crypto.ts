/** The block room's cryptography joint on Node's OpenSSL. */
import { createCipheriv, createDecipheriv, createHash, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import type { AesCipher, BlockCrypto, HashName } from '../../contract/index.ts';

const derive = promisify(pbkdf2);
const RATE_ITERATIONS_FIRST = 10_000;
const RATE_MILLIS_ENOUGH = 50;

export const nodeCrypto: BlockCrypto = {
  hash: (name, bytes) => new Uint8Array(createHash(name).update(bytes).digest()),
  pbkdf2: async (name, secret, salt, iterations, bytes) =>
    new Uint8Array(await derive(secret, salt, iterations, bytes, name)),
  pbkdf2Rate: rateOf,
  random: (bytes) => new Uint8Array(randomBytes(bytes)),
  aes,
};

async function rateOf(name: HashName, bytes: number): Promise<number> {
  for (let iterations = RATE_ITERATIONS_FIRST; ; iterations *= 2) {
    const before = performance.now();
    await derive('password', 'salt', iterations, bytes, name);
    const millis = performance.now() - before;
    if (millis >= RATE_MILLIS_ENOUGH) return (iterations * 1000) / millis;
  }
}

function aes(mode: 'cbc' | 'ecb', key: Uint8Array): AesCipher {
  const name = `aes-${key.length * 8}-${mode}`;
  const ivOf = (iv: Uint8Array) => (mode === 'ecb' ? null : iv);
  return {
    encrypt(iv, source) {
      const cipher = createCipheriv(name, key, ivOf(iv));
      cipher.setAutoPadding(false);
      return cipher.update(source);
    },
    decrypt(iv, source) {
      const cipher = createDecipheriv(name, key, ivOf(iv));
      cipher.setAutoPadding(false);
      return cipher.update(source);
    },
  };
}
