/** vireo-img bitmap. */
import { UserError } from '../../base/index.ts';
import type { Bitmaps } from '../../block/core.ts';
import { parseArguments, parseBytes } from './arguments.ts';
import { openOptions, withImage } from './images.ts';

const ACTIONS = ['add', 'remove', 'clear', 'enable', 'disable', 'merge'] as const;
type Action = { readonly kind: (typeof ACTIONS)[number]; readonly source?: string };
const DEFAULT_GRANULARITY_BYTES = 65536;

export async function bitmapCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    add: 'flag',
    remove: 'flag',
    clear: 'flag',
    enable: 'flag',
    disable: 'flag',
    merge: 'list',
    b: 'value',
    F: 'value',
    f: 'value',
    g: 'value',
    U: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const actions = actionsOf(argv);
  if (args.names.length !== 2) throw new UserError('Expecting filename and bitmap name');
  if (actions.length === 0)
    throw new UserError('Need at least one of --add, --remove, --clear, --enable, --disable, or --merge');
  if (args.has('g') && !args.has('add')) throw new UserError('granularity only supported with --add');
  if (args.has('b') && !args.has('merge')) throw new UserError('Merge bitmap source file only supported with --merge');
  const [filename, name] = args.names;
  const granularityBytes = parseBytes(args.get('g') ?? String(DEFAULT_GRANULARITY_BYTES), 'granularity');
  const options = { ...openOptions(args), writable: true, withoutBacking: true };
  return withImage(filename, options, async ({ node }) => {
    const { bitmaps } = node;
    if (bitmaps === undefined)
      throw new UserError(`Cannot store dirty bitmaps in file '${filename}' of format ${node.format}`);
    const sourceFile = args.get('b');
    for (const action of actions) {
      if (action.kind === 'merge') {
        const format = args.get('F');
        const ranges =
          sourceFile === undefined
            ? await bitmaps.dirtyRanges(action.source!)
            : await rangesIn(sourceFile, format, action.source!);
        await bitmaps.mark(name, ranges);
      } else await apply(bitmaps, action.kind, name, granularityBytes);
    }
    return 0;
  });
}

/** The actions in the order in which they were written. */
function actionsOf(argv: readonly string[]): Action[] {
  const actions: Action[] = [];
  for (const [i, arg] of argv.entries()) {
    const [, word, inline] = /^--([a-z]+)(?:=(.*))?$/.exec(arg) ?? [];
    const kind = ACTIONS.find((action) => action === word);
    if (kind !== undefined) actions.push(kind === 'merge' ? { kind, source: inline ?? argv[i + 1] } : { kind });
  }
  return actions;
}

async function apply(bitmaps: Bitmaps, kind: Exclude<Action['kind'], 'merge'>, name: string, granularityBytes: number) {
  if (kind === 'add') await bitmaps.add({ name, granularityBytes });
  else if (kind === 'remove') await bitmaps.remove(name);
  else if (kind === 'clear') await bitmaps.clear(name);
  else await bitmaps.setEnabled(name, kind === 'enable');
}

function rangesIn(filename: string, format: string | undefined, name: string) {
  const options = { ...(format === undefined ? {} : { format }), withoutBacking: true };
  return withImage(filename, options, async ({ node }) => {
    if (node.bitmaps === undefined) throw new UserError(`Dirty bitmap '${name}' not found`);
    return node.bitmaps.dirtyRanges(name);
  });
}
