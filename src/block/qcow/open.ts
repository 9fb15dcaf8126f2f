/** Opens qcow images. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Compression } from '../compression.ts';
import type { CheckResult, ImageInfo, ImageNode, OpenOptions, SectorCipher } from '../format.ts';
import { u64be, viewOf } from '../layout.ts';
import { addCorruption, checkPlace, type DiskMap, mappedNode, newCheckResult, type Run } from '../mapped.ts';
import { type MetadataCache, metadataCache, type Page } from '../qcow2/metadata-cache.ts';
import { alignUp, readPadded } from '../request.ts';
import { plainView } from './cipher.ts';
import { CRYPT, readHeader } from './layout.ts';

const CACHE_BYTES = 8 * 2 ** 20;
const OFFSET_MAX = 2 ** 52;
const COMPRESSED = 0x8000_0000;

interface State {
  readonly name: string;
  readonly file: BlockNode;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly l2Entries: number;
  readonly l1Offset: number;
  /** The L1 table: where each L2 table is, or 0. */
  readonly l1: DataView;
  readonly l2: MetadataCache;
  readonly compression: Compression | undefined;
  readonly cipher: SectorCipher | undefined;
  readonly changed: Set<number>;
}

/** Opens the image in `file`. @throws UserError when it is not usable; `file` stays open then */
export async function openQcow(file: BlockNode, options: OpenOptions): Promise<ImageNode> {
  const { name, compression, cipher } = options;
  const readOnly = options.readOnly ?? file.readOnly;
  const { header, l1Entries, backingFile } = await readHeader(file, name);
  const isEncrypted = header.cryptMethod === CRYPT.aes;
  const l1 = new Uint8Array(l1Entries * 8);
  await file.read(header.l1Offset, l1);
  const l2Entries = 2 ** header.l2Bits;
  const clusterBytes = 2 ** header.clusterBits;
  const state: State = {
    name,
    file,
    clusterBits: header.clusterBits,
    clusterBytes,
    l2Entries,
    l1Offset: header.l1Offset,
    l1: viewOf(l1),
    l2: metadataCache(file, l2Entries * 8, Math.floor(CACHE_BYTES / (l2Entries * 8))),
    compression,
    cipher: isEncrypted ? (cipher ?? withoutKey(name)) : undefined,
    changed: new Set(),
  };
  const backing = await openBacking(backingFile, options);
  const info: ImageInfo = {
    clusterBytes,
    ...(isEncrypted ? { encrypted: true } : {}),
    ...(backingFile === undefined ? {} : { backing: { filename: backingFile } }),
  };
  return mappedNode({
    format: 'qcow',
    name,
    sizeBytes: header.diskBytes,
    readOnly,
    preferredBytes: clusterBytes,
    info: () => info,
    map: mapOf(state),
    backing,
    files: [file],
    check: () => check(state, header.diskBytes),
    ...(isEncrypted || compression === undefined ? {} : { packed: packerOf(state, compression) }),
  });
}

/** Without a key an encrypted image tells what it is, and not what is in it. */
function withoutKey(name: string): SectorCipher {
  const refuse = (): never => {
    throw new IoError('io', `${name}: its disk is encrypted (AES): parameter 'encrypt.key-secret' is required`);
  };
  return { encrypt: refuse, decrypt: refuse };
}

async function openBacking(filename: string | undefined, { name, resolveBacking, withoutBacking }: OpenOptions) {
  if (filename === undefined || withoutBacking === true) return undefined;
  if (resolveBacking === undefined)
    throw new UserError(`${name}: it has the backing file ${filename}, and none may be opened`);
  return resolveBacking({ filename });
}

/** The L2 table that L1 entry `index` names, or undefined. */
function tableAt({ l1, l1Offset, l2, name, file }: State, index: number): Page | Promise<Page> | undefined {
  const at = u64be.get(l1, index * 8);
  if (at === 0) return undefined;
  const overlaps = at < l1Offset + l1.byteLength && at + l2.pageBytes > l1Offset;
  checkPlace(name, `L2 table ${index}`, overlaps ? 0 : at, l1Offset, file.sizeBytes);
  return l2.get(at);
}

function checkCluster({ name, file, l1Offset, l1 }: State, at: number): number {
  checkPlace(name, 'a cluster', at, l1Offset + l1.byteLength, Math.min(file.sizeBytes, OFFSET_MAX));
  return at;
}

async function lookup(state: State, offset: number, length: number): Promise<Run> {
  const { clusterBytes, l2Entries, file, cipher } = state;
  const cluster = Math.floor(offset / clusterBytes);
  const first = cluster % l2Entries;
  const from = offset - cluster * clusterBytes;
  const table = await tableAt(state, Math.floor(cluster / l2Entries));
  if (table === undefined) return { kind: 'hole', length: Math.min(length, (l2Entries - first) * clusterBytes - from) };
  const start = cluster * clusterBytes;
  const n = Math.min(length, clusterBytes - from);
  if (table.view.getUint32(first * 8) >= COMPRESSED) {
    return { kind: 'packed', length: n, start, unpack: () => unpack(state, table.view.getBigUint64(first * 8)) };
  }
  const at = u64be.get(table.view, first * 8);
  if (at === 0) {
    let last = first + 1;
    while (last < l2Entries && last * clusterBytes < first * clusterBytes + from + length) {
      if (u64be.get(table.view, last * 8) !== 0) break;
      last += 1;
    }
    return { kind: 'hole', length: Math.min(length, (last - first) * clusterBytes - from) };
  }
  checkCluster(state, at);
  const view = cipher === undefined ? file : plainView(file, start - at, cipher);
  return { kind: 'data', length: n, file: view, at: at + from };
}

/** Where compressed data lies: bytes above the place's bits tell how many. */
function packedPlace({ clusterBits }: State, entry: bigint): { at: number; length: number } {
  const bits = BigInt(63 - clusterBits);
  const length = Number((entry >> bits) & BigInt(2 ** clusterBits - 1));
  return { at: Number(entry & ((1n << bits) - 1n)), length };
}

async function unpack(state: State, entry: bigint): Promise<Uint8Array> {
  const { name, file, clusterBytes, compression } = state;
  const { at, length } = packedPlace(state, entry);
  checkCluster(state, at);
  const packed = new Uint8Array(length);
  await readPadded(file, at, packed);
  const target = new Uint8Array(clusterBytes);
  try {
    if (compression === undefined) throw new Error('no decompressor was given');
    await compression.decompress('zlib', packed, target);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new IoError('io', `${name}: the compressed cluster at ${at} cannot be unpacked: ${reason}`);
  }
  return target;
}

function mapOf(state: State): DiskMap {
  return {
    unitBytes: state.clusterBytes,
    lookup: (offset, length) => lookup(state, offset, length),
    allocate: (offset, bytes) => allocate(state, offset, bytes),
    commit: () => commit(state),
    pendingBytes: () => state.l2.dirtyCount * state.l2.pageBytes,
  };
}

function freePlace({ file, name }: State, alignBytes: number): number {
  const at = alignUp(file.sizeBytes, alignBytes);
  if (at > OFFSET_MAX) throw new IoError('no-space', `${name}: the file cannot grow further`);
  return at;
}

async function setEntry(state: State, cluster: number, entry: bigint): Promise<void> {
  const index = Math.floor(cluster / state.l2Entries);
  if ((await tableAt(state, index)) === undefined) {
    const at = freePlace(state, state.clusterBytes);
    await state.file.write(at, new Uint8Array(state.l2.pageBytes));
    state.l2.drop(at, 1);
    u64be.put(state.l1, index * 8, at);
    state.changed.add(index);
  }
  const page = (await tableAt(state, index))!;
  page.view.setBigUint64((cluster % state.l2Entries) * 8, entry);
  state.l2.markDirty(page);
}

async function allocate(state: State, offset: number, bytes: Uint8Array): Promise<void> {
  const { clusterBytes, file, cipher } = state;
  const at = freePlace(state, clusterBytes);
  if (cipher === undefined) await file.write(at, bytes);
  else {
    const encrypted = bytes.slice();
    await cipher.encrypt(offset / 512, encrypted);
    await file.write(at, encrypted);
  }
  for (let done = 0; done < bytes.length; done += clusterBytes) {
    await setEntry(state, (offset + done) / clusterBytes, BigInt(at + done));
  }
}

function packerOf(state: State, compression: Compression) {
  const { clusterBytes, clusterBits } = state;
  return {
    async pack(_: number, bytes: Uint8Array): Promise<Uint8Array> {
      const whole = new Uint8Array(clusterBytes);
      whole.set(bytes);
      return (await compression.compress('zlib', whole)) ?? whole;
    },
    /** What did not get smaller is stored as it is. */
    async store(offset: number, stored: Uint8Array): Promise<void> {
      if (stored.length === clusterBytes) return allocate(state, offset, stored);
      const at = freePlace(state, 1);
      await state.file.write(at, stored);
      const entry = (1n << 63n) | (BigInt(stored.length) << BigInt(63 - clusterBits)) | BigInt(at);
      await setEntry(state, offset / clusterBytes, entry);
    },
  };
}

/** Data, then L2 tables, then the L1 entries of new ones. */
async function commit(state: State): Promise<void> {
  const { file, l1, l1Offset, l2, changed } = state;
  await file.flush();
  if (l2.dirtyCount > 0) {
    await l2.writeDirty();
    await file.flush();
  }
  if (changed.size === 0) return;
  for (const index of changed) {
    await file.write(l1Offset + index * 8, new Uint8Array(l1.buffer, l1.byteOffset + index * 8, 8));
  }
  changed.clear();
  await file.flush();
}

/** Tables and clusters outside the file, and those that share their place. */
async function check(state: State, diskBytes: number): Promise<CheckResult> {
  const { clusterBytes, l2Entries, l1, file } = state;
  const result = newCheckResult();
  const seen = new Uint8Array(Math.ceil(Math.min(file.sizeBytes, 2 ** 42) / clusterBytes / 8) + 1);
  const claim = (what: string, at: number) => {
    const slot = Math.floor(at / clusterBytes);
    if (slot >= seen.length * 8) return;
    if ((seen[slot >> 3] & (1 << (slot & 7))) !== 0) addCorruption(result, `ERROR: ${what} at ${at} is used twice`);
    seen[slot >> 3] |= 1 << (slot & 7);
  };
  for (let index = 0; index * 8 < l1.byteLength; index += 1) {
    try {
      const table = await tableAt(state, index);
      if (table === undefined) continue;
      claim(`L2 table ${index}`, table.offset);
      for (let i = 0; i < l2Entries && (index * l2Entries + i) * clusterBytes < diskBytes; i += 1) {
        const entry = table.view.getBigUint64(i * 8);
        if (entry === 0n) continue;
        const isPacked = entry >> 63n === 1n;
        const at = isPacked ? packedPlace(state, entry).at : Number(entry);
        try {
          checkCluster(state, at);
          if (!isPacked) claim('the cluster', at);
        } catch (error) {
          addCorruption(result, `ERROR: ${error instanceof Error ? error.message : error}`);
        }
      }
    } catch (error) {
      addCorruption(result, `ERROR: ${error instanceof Error ? error.message : error}`);
    }
  }
  return result;
}
