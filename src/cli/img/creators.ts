/** How images of each format are made, and the line that tells of it. */
import { UserError } from '../../base/index.ts';
import { createQcow2, type Preallocation, type Qcow2CreateOptions, qcow2, zeroRange } from '../../block/core.ts';
import type { BlockNode } from '../../contract/index.ts';
import { openFileNode } from '../../host/node/block.ts';
import type { Objects } from '../drivers/objects.ts';
import { parseBytes, parseSwitch } from './arguments.ts';
import { openImage, resolveName } from './images.ts';
import { makeFile } from './make-file.ts';

/** The `-o` options, without `size`. */
export type CreateValues = Map<string, string>;

export interface Creator {
  /** Makes the image; what was there before is replaced, and what was begun goes away when it fails. */
  readonly create: (path: string, values: CreateValues, sizeBytes: number, objects: Objects) => Promise<void>;
  /** Writes an empty image to a node that is there already and whose size stays, e.g. an export. */
  readonly format?: (node: BlockNode, values: CreateValues, sizeBytes: number, objects: Objects) => Promise<void>;
  /** The options as qemu-img tells them before it makes an image. */
  readonly describe: (values: CreateValues, sizeBytes: number) => string;
}

/** The others are loaded when they are asked for. */
const CREATORS: Readonly<Record<string, Creator>> = {
  raw: {
    create: (path, values, sizeBytes) => createRaw(path, sizeBytes, preallocationOf(values, ['off', 'falloc', 'full'])),
    describe: (values, sizeBytes) => `size=${sizeBytes}${given(values, ['preallocation'])}`,
  },
  qcow2: { create: makeQcow2, format: formatQcow2, describe: describeQcow2 },
};

/** @throws UserError for formats that cannot be made */
export async function creatorFor(formatName: string): Promise<Creator> {
  if (Object.hasOwn(CREATORS, formatName)) return CREATORS[formatName];
  if (formatName === 'luks') return (await import('./create-encrypted.ts')).luksCreator;
  const { FORMAT_CREATORS } = await import('./create-formats.ts');
  if (!Object.hasOwn(FORMAT_CREATORS, formatName)) {
    throw new UserError(`Format driver '${formatName}' does not support image creation`);
  }
  return FORMAT_CREATORS[formatName];
}

/** Options as they were given, in this order. */
function given(values: CreateValues, keys: readonly string[]): string {
  return keys.map((key) => (values.has(key) ? ` ${key}=${values.get(key)}` : '')).join('');
}

export function qcow2Options(
  values: CreateValues,
  sizeBytes: number,
): Qcow2CreateOptions & { preallocation: Preallocation } {
  const get = (key: string) => values.get(key);
  const compat = get('compat') ?? '1.1';
  if (!['0.10', 'v2', '1.1', 'v3'].includes(compat)) throw new UserError(`Invalid compatibility level: '${compat}'`);
  const compression = get('compression_type') ?? 'zlib';
  if (compression !== 'zlib' && compression !== 'zstd') {
    throw new UserError(`Invalid parameter '${compression}': compression_type is zlib or zstd`);
  }
  const isOn = (key: string) => parseSwitch(key, get(key) ?? 'off');
  const filename = get('backing_file');
  const format = get('backing_fmt');
  const dataFile = get('data_file');
  const extendedL2 = isOn('extended_l2');
  const rawDataFile = isOn('data_file_raw');
  const preallocation = preallocationOf(values, ['off', 'metadata', 'falloc', 'full']);
  return {
    sizeBytes,
    version: compat === '0.10' || compat === 'v2' ? 2 : 3,
    clusterBytes: parseBytes(get('cluster_size') ?? '64k', 'cluster_size'),
    refcountBits: Number(get('refcount_bits') ?? 16),
    lazyRefcounts: isOn('lazy_refcounts'),
    extendedL2,
    compression,
    // Nothing of a raw data file is without a place: what others write there, the image has.
    preallocation: rawDataFile && preallocation === 'off' ? 'metadata' : preallocation,
    ...(filename ? { backing: { filename, ...(format === undefined ? {} : { format }) } } : {}),
    ...(dataFile === undefined ? {} : { dataFile, rawDataFile }),
  };
}

function preallocationOf(values: CreateValues, allowed: readonly Preallocation[]): Preallocation {
  const text = values.get('preallocation') ?? 'off';
  const mode = allowed.find((candidate) => candidate === text);
  if (mode === undefined)
    throw new UserError(`Invalid parameter '${text}': preallocation is one of ${allowed.join(', ')}`);
  return mode;
}

async function makeQcow2(path: string, values: CreateValues, sizeBytes: number, objects: Objects): Promise<void> {
  const { preallocation, ...plain } = qcow2Options(values, sizeBytes);
  const encryption = await encryptionOf(values, objects);
  const options = encryption === undefined ? plain : { ...plain, encryption };
  if (encryption !== undefined && preallocation !== 'off') {
    throw new UserError('Encryption and preallocation cannot be used together');
  }
  if (options.backing !== undefined && preallocation !== 'off' && options.extendedL2 !== true) {
    throw new UserError('Backing file and preallocation can only be used at the same time if extended_l2 is enabled');
  }
  await makeFile(path, (file) => createQcow2(file, options));
  if (options.dataFile !== undefined) await createRaw(resolveName(path, options.dataFile), sizeBytes, 'off');
  if (preallocation === 'off') return;
  const image = await openImage(path, { format: qcow2.name, writable: true, withoutBacking: true });
  await image.node.preallocate!(preallocation);
  await image.node.close();
}

async function encryptionOf(values: CreateValues, objects: Objects) {
  const isEncrypted = [...values.keys()].some((key) => key.startsWith('encrypt'));
  return isEncrypted ? (await import('./create-encrypted.ts')).qcow2Encryption(values, objects) : undefined;
}

async function formatQcow2(node: BlockNode, values: CreateValues, sizeBytes: number, objects: Objects): Promise<void> {
  const { preallocation, ...options } = qcow2Options(values, sizeBytes);
  if (preallocation !== 'off') throw new UserError('preallocation is not possible on an export');
  if (options.dataFile !== undefined) throw new UserError('an external data file is not possible on an export');
  const encryption = await encryptionOf(values, objects);
  await createQcow2(node, encryption === undefined ? options : { ...options, encryption });
}

async function createRaw(path: string, sizeBytes: number, preallocation: Preallocation): Promise<void> {
  const file = openFileNode(path, { create: true, io: 'blocking' });
  await file.resize!(sizeBytes);
  if (preallocation === 'falloc') await zeroRange(file, 0, sizeBytes);
  const zeros = new Uint8Array(preallocation === 'full' ? 2 ** 20 : 0);
  for (let at = 0; zeros.length > 0 && at < sizeBytes; at += zeros.length) {
    await file.write(at, zeros.subarray(0, Math.min(zeros.length, sizeBytes - at)));
  }
  await file.close();
}

function describeQcow2(values: CreateValues, sizeBytes: number): string {
  const { clusterBytes, extendedL2, compression, lazyRefcounts, refcountBits, backing, dataFile } = qcow2Options(
    values,
    sizeBytes,
  );
  const onOff = (isOn: boolean | undefined) => (isOn === true ? 'on' : 'off');
  const encrypt = [...values].filter(([key]) => key.startsWith('encrypt')).map(([key, value]) => `${key}=${value}`);
  const parts = [
    ...encrypt,
    `cluster_size=${clusterBytes}`,
    `extended_l2=${onOff(extendedL2)}`,
    ...(values.has('preallocation') ? [`preallocation=${values.get('preallocation')}`] : []),
    `compression_type=${compression}`,
    ...(values.has('compat') ? [`compat=${values.get('compat')}`] : []),
    `size=${sizeBytes}`,
    ...(dataFile === undefined ? [] : [`data_file=${dataFile}`]),
    ...(backing === undefined ? [] : [`backing_file=${backing.filename}`]),
    ...(backing?.format === undefined ? [] : [`backing_fmt=${backing.format}`]),
    `lazy_refcounts=${onOff(lazyRefcounts)}`,
    `refcount_bits=${refcountBits}`,
  ];
  return parts.join(' ');
}

/** The options that open an image which was made with these. */
export function secretOptions(formatName: string, values: CreateValues): ReadonlyMap<string, string> {
  const key = formatName === 'luks' ? 'key-secret' : 'encrypt.key-secret';
  const id = values.get(key);
  return new Map(id === undefined ? [] : [[key, id]]);
}
