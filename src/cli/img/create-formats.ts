/** Making images of every format but raw and qcow2, as vireo-img's options say. */
import { randomBytes } from 'node:crypto';
import { statSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../../base/index.ts';
import {
  createCow,
  createParallels,
  createQcow,
  createVdi,
  createVhd,
  createVhdx,
  createVmdk,
  type ImageInfo,
  type VhdCreateOptions,
  VMDK_ADAPTERS,
  VMDK_SUBFORMATS,
  type VmdkCreateOptions,
  vhdGeometrySize,
} from '../../block/index.ts';
import { openFileNode } from '../../host/node/block.ts';
import { parseBytes, parseSwitch } from './arguments.ts';
import type { Creator } from './creators.ts';
import { openImage, resolveName } from './images.ts';
import { makeFile } from './make-file.ts';

type Values = ReadonlyMap<string, string>;

/** An option with what it is when it was not given; without that, it is only shown when given. */
type Shown = readonly [key: string, standard?: string];

/** The options of an image about to be made, in this order. */
function describing(shown: readonly Shown[]): Creator['describe'] {
  return (values, sizeBytes) => {
    const parts = shown.map(([key, standard]) => [key, values.get(key) ?? standard] as const);
    const text = (key: string, value = '') =>
      key.endsWith('_size') && key !== 'force_size' ? parseBytes(value, key) : value;
    const known = parts.filter(([, value]) => value !== undefined).map(([key, value]) => ` ${key}=${text(key, value)}`);
    return `size=${sizeBytes}${known.join('')}`;
  };
}

function oneOf<T extends string>(values: Values, key: string, allowed: readonly T[]): T {
  const text = values.get(key) ?? allowed[0];
  const found = allowed.find((candidate) => candidate === text);
  if (found === undefined) throw new UserError(`Invalid parameter '${text}': ${key} is one of ${allowed.join(', ')}`);
  return found;
}

function isOn(values: Values, key: string, standard = 'off'): boolean {
  return parseSwitch(key, values.get(key) ?? standard);
}

const vdi: Creator = {
  describe: describing([['static', 'off']]),
  async create(path, values, sizeBytes) {
    const isStatic = isOn(values, 'static');
    const uuids = { imageUuid: randomBytes(16), snapshotUuid: randomBytes(16) };
    await makeFile(path, (file) => createVdi(file, { sizeBytes, isStatic, ...uuids }));
  },
};

const vpc: Creator = {
  describe: describing([['subformat'], ['force_size'], ['backing_file'], ['backing_fmt']]),
  async create(path, values, sizeBytes) {
    const isFixed = oneOf(values, 'subformat', ['dynamic', 'fixed']) === 'fixed';
    const parent = await parentOf(path, values, 'vpc');
    const isExact = isOn(values, 'force_size') || parent !== undefined;
    const options: VhdCreateOptions = {
      sizeBytes: isExact ? sizeBytes : vhdGeometrySize(sizeBytes),
      isFixed,
      usesGeometry: !isExact,
      uuid: randomBytes(16),
      nowSeconds: Date.now() / 1000,
      ...(parent === undefined
        ? {}
        : {
            parent: {
              filename: parent.filename,
              uuid: Buffer.from(parent.info.contentId ?? '', 'hex'),
              modifiedSeconds: statSync(parent.path).mtimeMs / 1000,
            },
          }),
    };
    await makeFile(path, (file) => createVhd(file, options));
  },
};

const vmdk: Creator = {
  describe: describing([
    ['adapter_type'],
    ['backing_file'],
    ['backing_fmt'],
    ['compat6', 'off'],
    ['hwversion', 'undefined'],
    ['toolsversion'],
    ['subformat'],
    ['zeroed_grain'],
  ]),
  async create(path, values, sizeBytes) {
    const filename = basename(path);
    const isVersion6 = isOn(values, 'compat6');
    if (isVersion6 && values.has('hwversion')) throw new UserError('compat6 cannot be enabled with hwversion set');
    const version = values.get('hwversion');
    const tools = values.get('toolsversion');
    if (!/^\d{0,9}$/.test(`${version ?? ''}`))
      throw new UserError(`Invalid parameter '${version}': hwversion is a number`);
    const made: string[] = [];
    const below = await parentOf(path, values, 'vmdk');
    const parent = below && { filename: below.filename, cid: Number(below.info.specific?.data.cid) };
    const options: VmdkCreateOptions = {
      sizeBytes,
      subformat: oneOf(values, 'subformat', VMDK_SUBFORMATS),
      filename,
      cid: randomBytes(4).readUInt32LE() % 0xfffffffe,
      adapter: oneOf(values, 'adapter_type', VMDK_ADAPTERS),
      zeroedGrain: isOn(values, 'zeroed_grain'),
      hardwareVersion: version ?? (isVersion6 ? '6' : '4'),
      ...(tools === undefined ? {} : { toolsVersion: tools }),
      ...(parent === undefined ? {} : { parent }),
      async createExtent(name) {
        made.push(join(dirname(path), name));
        return openFileNode(made[made.length - 1], { create: true, io: 'blocking' });
      },
    };
    try {
      await makeFile(path, (file) => createVmdk(file, options));
    } catch (error) {
      for (const extent of made) unlinkSync(extent);
      throw error;
    }
  },
};

interface Parent {
  readonly filename: string;
  readonly path: string;
  readonly info: ImageInfo;
}

/** What `backing_file` names, for formats whose images can only stand on their own kind. */
async function parentOf(path: string, values: Values, format: string): Promise<Parent | undefined> {
  const filename = values.get('backing_file');
  if (!filename) return undefined;
  const stated = values.get('backing_fmt');
  if (stated !== undefined && stated !== format)
    throw new UserError(`backing_fmt must be '${format}', not '${stated}'`);
  const resolved = resolveName(path, filename);
  const image = await openImage(resolved, { format, withoutBacking: true });
  const { info } = image.node;
  await image.node.close();
  return { filename, path: resolved, info };
}

const vhdx: Creator = {
  describe: describing([['log_size', '1048576'], ['block_size', '0'], ['subformat'], ['block_state_zero']]),
  async create(path, values, sizeBytes) {
    const options = {
      sizeBytes,
      isFixed: oneOf(values, 'subformat', ['dynamic', 'fixed']) === 'fixed',
      blockBytes: parseBytes(values.get('block_size') ?? '0', 'block_size'),
      logBytes: parseBytes(values.get('log_size') ?? '1M', 'log_size'),
      zeroBlocks: isOn(values, 'block_state_zero', 'on'),
      random: randomBytes,
    };
    await makeFile(path, (file) => createVhdx(file, options));
  },
};

export const FORMAT_CREATORS: Readonly<Record<string, Creator>> = {
  vdi,
  vpc,
  vmdk,
  vhdx,
  qcow: {
    describe: describing([['backing_file'], ['backing_fmt'], ['encrypt.format'], ['encrypt.key-secret']]),
    create(path, values, sizeBytes) {
      const method = values.get('encrypt.format');
      if (method !== undefined && method !== 'aes')
        throw new UserError(`Invalid parameter '${method}': encrypt.format is aes`);
      const options = { sizeBytes, isEncrypted: method === 'aes', ...backingFileOf(values) };
      return makeFile(path, (file) => createQcow(file, options));
    },
  },
  cow: {
    describe: describing([['backing_file'], ['backing_fmt']]),
    create: (path, values, sizeBytes) =>
      makeFile(path, (file) => createCow(file, { sizeBytes, ...backingFileOf(values) })),
  },
  parallels: {
    describe: describing([['cluster_size', '1048576']]),
    create(path, values, sizeBytes) {
      const clusterBytes = parseBytes(values.get('cluster_size') ?? '1M', 'cluster_size');
      return makeFile(path, (file) => createParallels(file, { sizeBytes, clusterBytes }));
    },
  },
};

function backingFileOf(values: Values): { backingFile?: string } {
  const backingFile = values.get('backing_file');
  return backingFile ? { backingFile } : {};
}
