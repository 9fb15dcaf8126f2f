/** vireo-img amend. */
import { UserError } from '../../base/index.ts';
import { alignUp, type ImageChanges } from '../../block/core.ts';
import { oneName, parseArguments, parseBytes, parseSwitch } from './arguments.ts';
import { createValues } from './create.ts';
import type { CreateValues } from './creators.ts';
import { openOptions, withImage } from './images.ts';

const CHANGEABLE = ['backing_file', 'backing_fmt', 'compat', 'lazy_refcounts', 'size'];

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
  const unknown = [...values.keys()].find((key) => !CHANGEABLE.includes(key));
  if (unknown !== undefined)
    throw new UserError(`Changing '${unknown}' is not supported: ${CHANGEABLE.join(', ')} can be changed`);
  const options = { ...openOptions(args), writable: true, withoutBacking: true };
  return withImage(oneName(args), options, async ({ node }) => {
    if (node.amend === undefined) {
      throw new UserError(`Format driver '${node.format}' does not support option amendment`);
    }
    await node.amend(changesOf(values));
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
  return {
    ...(compat === undefined ? {} : { version: compat === '0.10' || compat === 'v2' ? 2 : 3 }),
    ...(lazy === undefined ? {} : { lazyRefcounts: parseSwitch('lazy_refcounts', lazy) }),
  };
}
