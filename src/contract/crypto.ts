/** The cryptography joint: what a host must bring for encrypted disks. */

export type HashName = 'sha1' | 'sha256' | 'sha512';

/** AES in one mode with one key; requests are multiples of 16 bytes. */
export interface AesCipher {
  /** Ciphertext of `source` under an initialization vector of 16 bytes (none for ecb). */
  encrypt(iv: Uint8Array, source: Uint8Array): Uint8Array;
  decrypt(iv: Uint8Array, source: Uint8Array): Uint8Array;
}

export interface BlockCrypto {
  hash(name: HashName, bytes: Uint8Array): Uint8Array;
  /** PBKDF2 with HMAC (RFC 8018, 5.2). */
  pbkdf2(name: HashName, secret: Uint8Array, salt: Uint8Array, iterations: number, bytes: number): Promise<Uint8Array>;
  /** Iterations of PBKDF2 that this machine does in a second. */
  pbkdf2Rate(name: HashName, bytes: number): Promise<number>;
  /** Unpredictable bytes. */
  random(bytes: number): Uint8Array;
  /** `key` has 16, 24 or 32 bytes. */
  aes(mode: 'cbc' | 'ecb', key: Uint8Array): AesCipher;
}
