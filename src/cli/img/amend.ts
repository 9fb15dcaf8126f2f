/** vireo-img amend. */
import { UserError } from '../../base/index.ts';
import { alignUp, type ImageChanges, type ImageNode, type KeySlotChange } from '../../block/core.ts';
import { parseObjects } from '../drivers/objects.ts';
import { type Arguments, oneName, parseArguments, parseBytes, parseSwitch } from './arguments.ts';
import { createValues } from './create.ts';
import type { CreateValues } from './creators.ts';
import { openOptions, withImage } from './images.ts';

const KEY_OPTIONS = ['state', 'new-secret', 'old-secret', 'keyslot', 'iter-time'];
/** By format, what can be changed. */
const CHANGEABLE: Readonly<Record<string, readonly string[]>> = {
  qcow2: [
    ...[
      'backing_file',
      'backing_fmt',
      'compat',
      'data_file',
      'data_file_raw',
      'lazy_refcounts',
      'refcount_bits',
      'size',
    ],
    ...KEY_OPTIONS.map((name) => `encrypt.${name}`),
  ],
  luks: KEY_OPTIONS,
};

export async function amendCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    o: 'list',
    t: 'value',
    p: 'flag',
    q: 'flag',
    force: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const values = createValues(args, 'b');
  if (values.size === 0) throw new UserError('Must specify options (-o)');
  const options = { ...openOptions(args), writable: true, withoutBacking: true };
  return withImage(oneName(args), options, async ({ node }) => {
    const changeable = Object.hasOwn(CHANGEABLE, node.format) ? CHANGEABLE[node.format] : [];
    if (changeable.length === 0) {
      throw new UserError(`Format driver '${node.format}' does not support option amendment`);
    }
    const unknown = [...values.keys()].find((key) => !changeable.includes(key));
    if (unknown !== undefined)
      throw new UserError(`Changing '${unknown}' is not supported: ${changeable.join(', ')} can be changed`);
    const dataFile = values.get('data_file');
    if (dataFile !== undefined && dataFile !== node.info.specific?.data['data-file']) {
      throw new UserError('data-file cannot be changed');
    }
    await amendKeys(args, values, node);
    await node.amend?.(changesOf(values));
    const filename = values.get('backing_file') ?? node.info.backing?.filename;
    if (values.has('backing_file') || values.has('backing_fmt')) {
      const format = values.get('backing_fmt') ?? node.info.backing?.format;
      await node.changeBacking!(filename ? { filename, ...(format === undefined ? {} : { format }) } : undefined);
    }
    const size = values.get('size');
    if (size !== undefined) await node.resize!(alignUp(parseBytes(size), 512));
    return 0;
  });
}

function changesOf(values: CreateValues): ImageChanges {
  const compat = values.get('compat');
  if (compat !== undefined && !['0.10', 'v2', '1.1', 'v3'].includes(compat)) {
    throw new UserError(`Unknown compatibility level ${compat}`);
  }
  const lazy = values.get('lazy_refcounts');
  const bits = values.get('refcount_bits');
  const isRaw = values.get('data_file_raw');
  return {
    ...(compat === undefined ? {} : { version: compat === '0.10' || compat === 'v2' ? 2 : 3 }),
    ...(lazy === undefined ? {} : { lazyRefcounts: parseSwitch('lazy_refcounts', lazy) }),
    ...(bits === undefined ? {} : { refcountBits: Number(bits) }),
    ...(isRaw === undefined ? {} : { rawDataFile: parseSwitch('data_file_raw', isRaw) }),
  };
}

/** Changes key slots, when options say so. */
async function amendKeys(args: Arguments, values: CreateValues, node: ImageNode): Promise<void> {
  const prefix = node.format === 'luks' ? '' : 'encrypt.';
  const get = (key: string) => values.get(`${prefix}${key}`);
  if (KEY_OPTIONS.every((key) => get(key) === undefined)) return;
  const state = get('state');
  if (state !== 'active' && state !== 'inactive') {
    const what = state === undefined ? 'is missing' : `'${state}' is not known`;
    throw new UserError(`Parameter '${prefix}state' ${what}: it is active or inactive`);
  }
  if (node.amendKeys === undefined) throw new UserError('This image is not encrypted with LUKS');
  const objects = parseObjects(args.all('object'));
  const secret = (key: string) => {
    const id = get(key);
    return id === undefined ? undefined : objects.secret(id);
  };
  const number = (key: string) => {
    const text = get(key);
    if (text === undefined) return undefined;
    if (!/^\d+$/.test(text)) throw new UserError(`Parameter '${prefix}${key}' expects a number`);
    return Number(text);
  };
  const given: Partial<Record<keyof KeySlotChange, unknown>> = {
    state,
    newSecret: secret('new-secret'),
    oldSecret: secret('old-secret'),
    keySlot: number('keyslot'),
    iterationMillis: number('iter-time'),
  };
  const change = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  await node.amendKeys(change as unknown as KeySlotChange, args.has('force'));
}
