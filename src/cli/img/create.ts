/** vireo-img create, and making the target of other commands. */
import { randomBytes } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import {
  alignUp,
  createQcow2,
  createVdi,
  createVhd,
  type Preallocation,
  type Qcow2CreateOptions,
  qcow2,
  zeroRange,
} from '../../block/index.ts';
import { openFileNode } from '../../host/node/index.ts';
import { type Arguments, parseArguments, parseBytes, parseKeyValues, parseSwitch } from './arguments.ts';
import { formatNamed, openImage, parseImageName, resolveName } from './images.ts';

export type CreateValues = Map<string, string>;

/** Joins the `-o` options of a command line, `-b` and `-F` as they are meant. */
export function createValues(args: Arguments, backingLetter: 'b' | 'B'): CreateValues {
  const values: CreateValues = new Map();
  for (const text of args.all('o')) for (const [key, value] of parseKeyValues(text)) values.set(key, value);
  const backing = args.get(backingLetter);
  if (backing !== undefined) values.set('backing_file', backing);
  const backingFormat = args.get('F');
  if (backingFormat !== undefined) values.set('backing_fmt', backingFormat);
  return values;
}

function qcow2Options(values: CreateValues, sizeBytes: number): Qcow2CreateOptions & { preallocation: Preallocation } {
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
  return {
    sizeBytes,
    version: compat === '0.10' || compat === 'v2' ? 2 : 3,
    clusterBytes: parseBytes(get('cluster_size') ?? '64k', 'cluster_size'),
    refcountBits: Number(get('refcount_bits') ?? 16),
    lazyRefcounts: isOn('lazy_refcounts'),
    extendedL2,
    compression,
    preallocation: preallocationOf(values, ['off', 'metadata', 'falloc', 'full']),
    ...(filename ? { backing: { filename, ...(format === undefined ? {} : { format }) } } : {}),
    ...(dataFile === undefined ? {} : { dataFile, rawDataFile: isOn('data_file_raw') }),
  };
}

function preallocationOf(values: CreateValues, allowed: readonly Preallocation[]): Preallocation {
  const text = values.get('preallocation') ?? 'off';
  const mode = allowed.find((candidate) => candidate === text);
  if (mode === undefined)
    throw new UserError(`Invalid parameter '${text}': preallocation is one of ${allowed.join(', ')}`);
  return mode;
}

/** Refuses options that the format does not have. */
export function checkCreateValues(formatName: string, values: CreateValues): void {
  const { createOptions } = formatNamed(formatName);
  for (const key of values.keys()) {
    if (!createOptions.some(({ name }) => name === key)) throw new UserError(`Invalid parameter '${key}'`);
  }
}

/** Makes an image file. What was there before is replaced. */
export async function createImage(
  path: string,
  formatName: string,
  values: CreateValues,
  sizeBytes: number,
): Promise<void> {
  checkCreateValues(formatName, values);
  if (formatName === 'raw') return createRaw(path, sizeBytes, preallocationOf(values, ['off', 'falloc', 'full']));
  if (formatName === 'vdi') return makeVdi(path, sizeBytes, parseSwitch('static', values.get('static') ?? 'off'));
  if (formatName === 'vpc') return makeVhd(path, sizeBytes, isFixedVhd(values));
  const { preallocation, ...options } = qcow2Options(values, sizeBytes);
  if (options.backing !== undefined && preallocation !== 'off' && options.extendedL2 !== true) {
    throw new UserError('Backing file and preallocation can only be used at the same time if extended_l2 is enabled');
  }
  const file = openFileNode(path, { create: true, io: 'blocking' });
  try {
    await createQcow2(file, options);
  } catch (error) {
    await file.close();
    unlinkSync(path);
    throw error;
  }
  await file.close();
  if (options.dataFile !== undefined) await createRaw(resolveName(path, options.dataFile), sizeBytes, 'off');
  if (preallocation === 'off') return;
  const image = await openImage(path, { format: qcow2.name, writable: true, withoutBacking: true });
  await image.node.preallocate!(preallocation);
  await image.node.close();
}

async function makeVdi(path: string, sizeBytes: number, isStatic: boolean): Promise<void> {
  const file = openFileNode(path, { create: true, io: 'blocking' });
  try {
    await createVdi(file, { sizeBytes, isStatic, imageUuid: randomBytes(16), snapshotUuid: randomBytes(16) });
  } catch (error) {
    unlinkSync(path);
    throw error;
  } finally {
    await file.close();
  }
}

function isFixedVhd(values: CreateValues): boolean {
  const subformat = values.get('subformat') ?? 'dynamic';
  if (subformat !== 'dynamic' && subformat !== 'fixed') {
    throw new UserError(`Invalid subformat '${subformat}': it is dynamic or fixed`);
  }
  if (!parseSwitch('force_size', values.get('force_size') ?? 'on')) {
    throw new UserError('force_size=off is not supported: a disk has exactly the size given');
  }
  return subformat === 'fixed';
}

async function makeVhd(path: string, sizeBytes: number, isFixed: boolean): Promise<void> {
  const file = openFileNode(path, { create: true, io: 'blocking' });
  try {
    await createVhd(file, { sizeBytes, isFixed, uuid: randomBytes(16), nowSeconds: Math.floor(Date.now() / 1000) });
  } catch (error) {
    unlinkSync(path);
    throw error;
  } finally {
    await file.close();
  }
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

/** The line that qemu-img prints before it makes an image. */
function describe(path: string, formatName: string, values: CreateValues, sizeBytes: number): string {
  if (formatName === 'raw') {
    const mode = values.get('preallocation');
    return `Formatting '${path}', fmt=raw size=${sizeBytes}${mode === undefined ? '' : ` preallocation=${mode}`}\n`;
  }
  if (formatName === 'vpc') {
    const rest = ['subformat', 'force_size']
      .filter((key) => values.has(key))
      .map((key) => ` ${key}=${values.get(key)}`);
    return `Formatting '${path}', fmt=vpc size=${sizeBytes}${rest.join('')}\n`;
  }
  if (formatName === 'vdi')
    return `Formatting '${path}', fmt=vdi size=${sizeBytes} static=${values.get('static') ?? 'off'}\n`;
  const { clusterBytes, extendedL2, compression, lazyRefcounts, refcountBits, backing, dataFile } = qcow2Options(
    values,
    sizeBytes,
  );
  const onOff = (isOn: boolean | undefined) => (isOn === true ? 'on' : 'off');
  const parts = [
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
  return `Formatting '${path}', fmt=${formatName} ${parts.join(' ')}\n`;
}

/** The list that `-o help` prints. */
export function optionsHelp(formatName: string): string {
  const rows = formatNamed(formatName).createOptions.map(({ name, help }) => `  ${name.padEnd(21)} - ${help}\n`);
  return `Supported options:\n${rows.join('')}`;
}

export async function createCommand(argv: readonly string[]): Promise<number> {
  const args = parseArguments({ f: 'value', b: 'value', F: 'value', u: 'flag', o: 'list', q: 'flag' }, argv);
  const formatName = args.get('f') ?? 'raw';
  formatNamed(formatName);
  if (args.all('o').some((text) => text === 'help' || text === '?')) {
    process.stdout.write(optionsHelp(formatName));
    return 0;
  }
  const [name, sizeText, extra] = args.names;
  if (name === undefined) throw new UserError('Expecting image file name');
  if (extra !== undefined) throw new UserError(`Unexpected argument: ${extra}`);
  const path = parseImageName(name).filename;
  const values = createValues(args, 'b');
  const givenSize = sizeText ?? values.get('size');
  values.delete('size');
  checkCreateValues(formatName, values);
  const sizeBytes = await sizeFor(path, givenSize, values, args.has('u'));
  if (!args.has('q')) process.stdout.write(describe(path, formatName, values, sizeBytes));
  await createImage(path, formatName, values, sizeBytes);
  return 0;
}

/** The size given, else the backing file's. */
async function sizeFor(
  path: string,
  given: string | undefined,
  values: CreateValues,
  isUnchecked: boolean,
): Promise<number> {
  const backing = values.get('backing_file');
  let backingSize: number | undefined;
  if (backing && !isUnchecked) {
    const format = values.get('backing_fmt');
    if (format === undefined) {
      throw new UserError(`${path}: Backing file specified without backing format`);
    }
    const image = await openImage(resolveName(path, backing), { format });
    backingSize = image.node.sizeBytes;
    await image.node.close();
  }
  if (given !== undefined) return alignUp(parseBytes(given), 512);
  if (backingSize === undefined) throw new UserError(`${path}: Image creation needs a size parameter`);
  return backingSize;
}
