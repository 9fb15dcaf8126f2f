/** vireo-img map. */
import { UserError } from '../../base/index.ts';
import { oneName, parseArguments, parseBytes, wantsJson } from './arguments.ts';
import { type ChainExtent, chainExtents } from './chain.ts';
import { type OpenedImage, openOptions, withImage } from './images.ts';

export async function mapCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    U: 'flag',
    s: 'value',
    l: 'value',
    'start-offset': 'value',
    'max-length': 'value',
    output: 'value',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const json = wantsJson(args);
  const start = parseBytes(args.get('start-offset') ?? args.get('s') ?? '0', 'start offset');
  const limit = args.get('max-length') ?? args.get('l');
  return withImage(oneName(args), openOptions(args), async (image) => {
    const size = image.node.sizeBytes;
    if (start > size) throw new UserError(`the start offset ${start} is beyond the end of the image, ${size}`);
    const end = limit === undefined ? size : Math.min(size, start + parseBytes(limit, 'max length'));
    process.stdout.write(json ? '[' : 'Offset          Length          Mapped to       File\n');
    let isFirst = true;
    for await (const extent of joinedExtents(image, start, end)) {
      process.stdout.write(json ? `${isFirst ? '' : ',\n'}${jsonRow(extent)}` : humanRow(extent));
      isFirst = false;
    }
    if (json) process.stdout.write(']\n');
    return 0;
  });
}

async function* joinedExtents(image: OpenedImage, start: number, end: number): AsyncGenerator<ChainExtent> {
  let current: ChainExtent | undefined;
  for await (const next of chainExtents(image, start, end)) {
    if (current !== undefined && joins(current, next)) current = { ...current, length: current.length + next.length };
    else {
      if (current !== undefined) yield current;
      current = next;
    }
  }
  if (current !== undefined) yield current;
}

function joins(a: ChainExtent, b: ChainExtent): boolean {
  const isSameKind = a.zero === b.zero && a.data === b.data && a.allocated === b.allocated && a.depth === b.depth;
  const isContiguous =
    a.childOffset === undefined ? b.childOffset === undefined : b.childOffset === a.childOffset + a.length;
  return isSameKind && isContiguous && a.filename === b.filename;
}

function jsonRow({ offset, length, depth, allocated, zero, data, childOffset }: ChainExtent): string {
  const place = childOffset === undefined ? '' : `, "offset": ${childOffset}`;
  return `{ "start": ${offset}, "length": ${length}, "depth": ${depth}, "present": ${allocated}, "zero": ${zero}, "data": ${data}${place}}`;
}

function humanRow({ offset, length, data, zero, childOffset, filename }: ChainExtent): string {
  if (!data || zero) return '';
  if (childOffset === undefined) throw new UserError('File contains external, encrypted or compressed clusters.');
  const cell = (value: number) => (value === 0 ? '0' : `0x${value.toString(16)}`).padEnd(16);
  return `${cell(offset)}${cell(length)}${cell(childOffset)}${filename}\n`;
}
