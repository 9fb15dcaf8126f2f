/** The LUKS1 header (LUKS On-Disk Format Specification 1.2.3, section 3). */
import { UserError } from '../../base/index.ts';
import type { BlockNode, HashName } from '../../contract/index.ts';
import { type CipherSpec, IV_GENERATORS, SECTOR_BYTES } from '../crypto/sectors.ts';
import { bytesOf, type LayoutOf, layout, u16be, u32be } from '../layout.ts';
import { readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';

const MAGIC = Uint8Array.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe);
export const SLOTS = 8;
export const STRIPES = 4000;
export const DIGEST_BYTES = 20;
export const SALT_BYTES = 32;
const ACTIVE = 0x00ac71f3;
const INACTIVE = 0x0000dead;
const STRIPES_MAX = 10_000;
/** Of a key slot or a digest: with a good machine some minutes of work, so that an image cannot ask for hours. */
export const ITERATIONS_MAX = 2 ** 28;
const KEY_BYTES_MAX = 128;

const fixed = layout({
  magic: bytesOf(6),
  version: u16be,
  cipherName: bytesOf(32),
  cipherMode: bytesOf(32),
  hash: bytesOf(32),
  payloadSectors: u32be,
  keyBytes: u32be,
  digest: bytesOf(DIGEST_BYTES),
  digestSalt: bytesOf(SALT_BYTES),
  digestIterations: u32be,
  uuid: bytesOf(40),
});
const slotRow = layout({ active: u32be, iterations: u32be, salt: bytesOf(SALT_BYTES), sector: u32be, stripes: u32be });
type SlotRow = LayoutOf<typeof slotRow>;

export const HEADER_BYTES = fixed.size + SLOTS * slotRow.size;

export interface KeySlot extends Omit<SlotRow, 'active'> {
  isActive: boolean;
}

export interface LuksHeader {
  readonly cipher: CipherSpec;
  readonly hash: HashName;
  /** Where the data begins, in sectors of 512 bytes from the header on. */
  readonly payloadSectors: number;
  readonly keyBytes: number;
  readonly digest: Uint8Array;
  readonly digestSalt: Uint8Array;
  readonly digestIterations: number;
  readonly uuid: string;
  readonly slots: readonly KeySlot[];
}

export function isLuks(head: Uint8Array): boolean {
  return head.length >= 8 && MAGIC.every((byte, i) => head[i] === byte) && head[6] === 0 && head[7] === 1;
}

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeUtf8(end < 0 ? bytes : bytes.subarray(0, end));
}

function padded(text: string, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(encodeUtf8(text));
  return bytes;
}

const HASHES: readonly HashName[] = ['sha1', 'sha256', 'sha512'];

const isCountOfIterations = (count: number): boolean => count > 0 && count <= ITERATIONS_MAX;

/** Reads and checks a header at `offset`. @throws UserError that names the field */
export async function readLuksHeader(file: BlockNode, name: string, offset = 0): Promise<LuksHeader> {
  const bytes = new Uint8Array(HEADER_BYTES);
  await readPadded(file, offset, bytes);
  const bad = (what: string): never => {
    throw new UserError(`${name}: not a usable LUKS volume: ${what}`);
  };
  if (!isLuks(bytes)) bad('it does not begin with the magic number of LUKS version 1');
  const row = fixed.read(bytes);
  const { payloadSectors, keyBytes, digest, digestSalt, digestIterations } = row;
  if (textOf(row.cipherName) !== 'aes') bad(`the cipher '${textOf(row.cipherName)}' is not known; aes is`);
  const hash = HASHES.find((known) => known === textOf(row.hash)) ?? bad(`the hash '${textOf(row.hash)}' is not known`);
  const cipher = parseMode(textOf(row.cipherMode)) ?? bad(`the mode '${textOf(row.cipherMode)}' is not known`);
  const keySizes = cipher.mode === 'xts' ? [32, 64] : [16, 24, 32];
  if (keyBytes > KEY_BYTES_MAX || !keySizes.includes(keyBytes)) bad(`a key of ${keyBytes} bytes does not fit its mode`);
  if (!isCountOfIterations(digestIterations)) bad(`its key digest has ${digestIterations} iterations`);
  const slots = Array.from({ length: SLOTS }, (_, i) => slotRow.read(bytes, fixed.size + i * slotRow.size)).map(
    ({ active, ...slot }, i): KeySlot => {
      if (active !== ACTIVE && active !== INACTIVE) bad(`key slot ${i} is neither active nor inactive`);
      const isActive = active === ACTIVE;
      const sectors = Math.ceil((slot.stripes * keyBytes) / SECTOR_BYTES);
      if (isActive && (slot.stripes === 0 || slot.stripes > STRIPES_MAX || !isCountOfIterations(slot.iterations))) {
        bad(`key slot ${i} has ${slot.stripes} stripes and ${slot.iterations} iterations`);
      }
      const isOutside = slot.sector * SECTOR_BYTES < HEADER_BYTES || slot.sector + sectors > payloadSectors;
      if (isActive && isOutside) bad(`the material of key slot ${i} lies outside the header`);
      return { ...slot, isActive };
    },
  );
  return {
    cipher,
    hash,
    payloadSectors,
    keyBytes,
    digest,
    digestSalt,
    digestIterations,
    uuid: textOf(row.uuid),
    slots,
  };
}

function parseMode(text: string): CipherSpec | undefined {
  if (text === 'ecb') return { mode: 'ecb', ivGenerator: 'plain64' };
  const [, mode, generator, ivHash] = /^(xts|cbc)-([a-z0-9]+)(?::([a-z0-9]+))?$/.exec(text) ?? [];
  const ivGenerator = IV_GENERATORS.find((known) => known === generator);
  if (ivGenerator === undefined || (mode !== 'xts' && mode !== 'cbc')) return undefined;
  if (ivGenerator !== 'essiv') return ivHash === undefined ? { mode, ivGenerator } : undefined;
  // The hash's length is the length of an AES key.
  return ivHash === 'sha256' ? { mode, ivGenerator, ivHash } : undefined;
}

function modeText({ mode, ivGenerator, ivHash }: CipherSpec): string {
  if (mode === 'ecb') return mode;
  return `${mode}-${ivGenerator}${ivGenerator === 'essiv' ? `:${ivHash ?? 'sha256'}` : ''}`;
}

export function encodeLuksHeader(header: LuksHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(
    fixed.write({
      ...header,
      magic: MAGIC,
      version: 1,
      cipherName: padded('aes', 32),
      cipherMode: padded(modeText(header.cipher), 32),
      hash: padded(header.hash, 32),
      uuid: padded(header.uuid, 40),
    }),
  );
  header.slots.forEach(({ isActive, ...slot }, i) => {
    bytes.set(slotRow.write({ ...slot, active: isActive ? ACTIVE : INACTIVE }), fixed.size + i * slotRow.size);
  });
  return bytes;
}
