/** LUKS version 1 as a format of its own. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { cryptoOf, encryptedIo, lockedIo, SECTOR_BYTES, sectorCipher } from '../crypto/sectors.ts';
import type { Format, ImageNode, OpenOptions } from '../format.ts';
import { checkRange, checkWritable } from '../request.ts';
import { amendKeySlots } from './amend.ts';
import { isLuks, type LuksHeader, readLuksHeader } from './header.ts';
import { unlock } from './keys.ts';

export { createLuks, type LuksOptions, luksPayloadOffset } from './create.ts';

export const LUKS_CREATE_OPTIONS = [
  { name: 'cipher-alg', help: 'Name of encryption cipher algorithm' },
  { name: 'cipher-mode', help: 'Name of encryption cipher mode' },
  { name: 'hash-alg', help: 'Name of encryption hash algorithm' },
  { name: 'iter-time', help: 'Time to spend in PBKDF in milliseconds' },
  { name: 'ivgen-alg', help: 'Name of IV generator algorithm' },
  { name: 'ivgen-hash-alg', help: 'Name of IV generator hash algorithm' },
  { name: 'key-secret', help: 'ID of the secret that provides the keyslot key' },
] as const;

export const luks: Format = {
  name: 'luks',
  createOptions: [...LUKS_CREATE_OPTIONS, { name: 'size', help: 'Virtual disk size' }],
  probe: (head) => (isLuks(head) ? 100 : 0),
  open: openLuks,
};

/** What QAPI's QCryptoBlockInfoLUKS tells. */
export function luksInfo(header: LuksHeader, further: object = {}): Readonly<Record<string, unknown>> {
  const { cipher, hash, keyBytes, slots, payloadSectors, digestIterations, uuid } = header;
  const keyBits = (cipher.mode === 'xts' ? keyBytes / 2 : keyBytes) * 8;
  return {
    'ivgen-alg': cipher.ivGenerator,
    ...(cipher.ivGenerator === 'essiv' ? { 'ivgen-hash-alg': cipher.ivHash } : {}),
    'hash-alg': hash,
    'cipher-alg': `aes-${keyBits}`,
    uuid,
    ...further,
    'cipher-mode': cipher.mode,
    slots: slots.map(({ isActive, iterations, stripes, sector }) => ({
      active: isActive,
      ...(isActive ? { iters: iterations } : {}),
      'key-offset': sector * SECTOR_BYTES,
      ...(isActive ? { stripes } : {}),
    })),
    'payload-offset': payloadSectors * SECTOR_BYTES,
    'master-key-iters': digestIterations,
  };
}

async function openLuks(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name, readOnly = file.readOnly, secret } = options;
  const header = await readLuksHeader(file, name);
  const payload = header.payloadSectors * SECTOR_BYTES;
  if (payload > file.sizeBytes) throw new UserError(`${name}: not a usable LUKS volume: it ends before its data begin`);
  const io =
    secret === undefined ? lockedIo(name, 'key-secret') : encryptedIo(await cipherOf(file, 0, header, options, secret));
  const size = () => file.sizeBytes - payload;
  const grow = async (end: number) => {
    if (end > size() && file.resize !== undefined) await file.resize(payload + end);
  };
  const node: ImageNode = {
    format: 'luks',
    info: { encrypted: true, specific: { type: 'luks', data: luksInfo(header) } },
    get sizeBytes() {
      return size();
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: file.limits.preferredBytes },
    async read(offset, target) {
      checkRange(name, size(), offset, target.length);
      await io.read(file, payload + offset, offset, target);
    },
    async write(offset, source) {
      checkWritable(name, readOnly);
      if (file.resize === undefined) checkRange(name, size(), offset, source.length);
      else checkRange(name, Number.MAX_SAFE_INTEGER - payload, offset, source.length);
      await grow(offset + source.length);
      await io.write(file, payload + offset, offset, source);
    },
    flush: () => file.flush(),
    async extents(offset, length) {
      checkRange(name, size(), offset, length);
      return [{ offset, length, allocated: true, zero: false, data: true, childOffset: payload + offset }];
    },
    amendKeys: async (change, force) => {
      checkWritable(name, readOnly);
      const { crypto } = options;
      await amendKeySlots({ file, offset: 0, name, crypto: cryptoOf(name, crypto) }, secret, change, force);
    },
    close: () => file.close(),
  };
  if (file.resize !== undefined) node.resize = (sizeBytes) => resizeLuks(node, file, payload, sizeBytes);
  return node;
}

const ZERO_STEP_BYTES = 2 ** 20;

/** New bytes must be zeros when they are read, so that they are written. */
async function resizeLuks(node: ImageNode, file: BlockNode, payload: number, sizeBytes: number): Promise<void> {
  const old = node.sizeBytes;
  await file.resize!(payload + sizeBytes);
  const zeros = new Uint8Array(ZERO_STEP_BYTES);
  for (let at = old; at < sizeBytes; at += zeros.length) {
    await node.write(at, zeros.subarray(0, Math.min(zeros.length, sizeBytes - at)));
  }
}

/** The cipher of a volume whose header lies at `offset` of `file`. @throws UserError for a wrong secret */
export async function cipherOf(
  file: BlockNode,
  offset: number,
  header: LuksHeader,
  { name, crypto }: Pick<OpenOptions, 'name' | 'crypto'>,
  secret: Uint8Array,
) {
  const brought = cryptoOf(name, crypto);
  const key = await unlock(brought, file, offset, header, secret, name);
  return sectorCipher(brought, header.cipher, key);
}
