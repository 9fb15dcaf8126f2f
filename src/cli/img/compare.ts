/** vireo-img compare and measure. */
import { UserError } from '../../base/index.ts';
import { measureQcow2 } from '../../block/index.ts';
import { parseArguments, parseBytes, parseSwitch, wantsJson } from './arguments.ts';
import { chainExtent } from './chain.ts';
import { firstDifference } from './copy.ts';
import { createValues } from './create.ts';
import { formatNamed, type OpenedImage, openImage, openOptions } from './images.ts';
import { progressBar } from './text.ts';

/** Exit codes as qemu-img's. */
const EXIT = { same: 0, different: 1, failed: 2 } as const;
const CHUNK_BYTES = 2 * 2 ** 20;

export async function compareCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    F: 'value',
    T: 'value',
    p: 'flag',
    q: 'flag',
    s: 'flag',
    U: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  if (args.names.length !== 2) throw new UserError('Expecting two image file names');
  const progress = progressBar(args.has('p') && !args.has('q'));
  const say = (text: string) => {
    if (!args.has('q')) process.stdout.write(`${text}\n`);
  };
  const { format: _, ...options } = openOptions(args);
  const open = async (name: string, format: string | undefined) =>
    openImage(name, format === undefined ? options : { ...options, format });
  const images: OpenedImage[] = [];
  try {
    images.push(await open(args.names[0], args.get('f')));
    images.push(await open(args.names[1], args.get('F')));
    const verdict = await compareImages(images[0], images[1], args.has('s'), say, progress.report);
    progress.end();
    say(verdict ?? 'Images are identical.');
    return verdict === undefined ? EXIT.same : EXIT.different;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    process.stderr.write(`vireo-img: ${error.message}\n`);
    return EXIT.failed;
  } finally {
    for (const { node } of images) await node.close();
  }
}

/** What is different, or undefined. */
async function compareImages(
  a: OpenedImage,
  b: OpenedImage,
  isStrict: boolean,
  say: (text: string) => void,
  report: (fraction: number) => void,
): Promise<string | undefined> {
  const [sizeA, sizeB] = [a.node.sizeBytes, b.node.sizeBytes];
  if (isStrict && sizeA !== sizeB) return 'Strict mode: Image size mismatch!';
  const size = Math.max(sizeA, sizeB);
  const common = Math.min(sizeA, sizeB);
  for (let offset = 0; offset < size; ) {
    if (offset === common) say('Warning: Image size mismatch!');
    const [left, right] = [await part(a, offset, size), await part(b, offset, size)];
    if (isStrict && left.allocated !== right.allocated) return `Strict mode: Offset ${offset} block status mismatch!`;
    let length = Math.min(left.length, right.length, (offset < common ? common : size) - offset);
    if (!left.zero || !right.zero) {
      length = Math.min(length, CHUNK_BYTES);
      const found = await firstDifference(a.node, b.node, offset, length);
      if (found !== undefined) return `Content mismatch at offset ${found}!`;
    }
    offset += length;
    report(offset / size);
  }
  return undefined;
}

/** What an image has at an offset; beyond its end, zeros. */
async function part(
  image: OpenedImage,
  offset: number,
  size: number,
): Promise<{ length: number; zero: boolean; allocated: boolean }> {
  if (offset >= image.node.sizeBytes) return { length: size - offset, zero: true, allocated: false };
  const { length, zero, allocated } = await chainExtent(image, offset, image.node.sizeBytes - offset);
  return { length, zero: zero || !allocated, allocated };
}

export async function measureCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    O: 'value',
    o: 'list',
    l: 'value',
    U: 'flag',
    size: 'value',
    output: 'value',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const json = wantsJson(args);
  const formatName = args.get('O') ?? 'raw';
  formatNamed(formatName);
  if (formatName !== 'raw' && formatName !== 'qcow2') {
    throw new UserError(`Format driver '${formatName}' does not support size measurement`);
  }
  const sizeText = args.get('size');
  if ((sizeText === undefined) === (args.names.length === 0))
    throw new UserError('Either --size N or one filename must be specified.');
  const values = createValues(args, 'b');
  const cluster = parseBytes(values.get('cluster_size') ?? '64k', 'cluster_size');
  let source = { sizeBytes: sizeText === undefined ? 0 : parseBytes(sizeText), dataBytes: 0 };
  if (sizeText === undefined) {
    const image = await openImage(args.names[0], openOptions(args));
    source = { sizeBytes: image.node.sizeBytes, dataBytes: await dataBytes(image, cluster) };
    await image.node.close();
  }
  const extendedL2 = parseSwitch('extended_l2', values.get('extended_l2') ?? 'off');
  const refcountBits = Number(values.get('refcount_bits') ?? 16);
  const { sizeBytes } = source;
  const { requiredBytes, fullyAllocatedBytes } =
    formatName === 'raw'
      ? { requiredBytes: sizeBytes, fullyAllocatedBytes: sizeBytes }
      : measureQcow2(sizeBytes, source.dataBytes, { clusterBytes: cluster, extendedL2, refcountBits });
  const record = { required: requiredBytes, 'fully-allocated': fullyAllocatedBytes };
  const human = `required size: ${requiredBytes}\nfully allocated size: ${fullyAllocatedBytes}\n`;
  process.stdout.write(json ? `${JSON.stringify(record, null, 4)}\n` : human);
  return 0;
}

/** Bytes of clusters that hold data. */
async function dataBytes(image: OpenedImage, cluster: number): Promise<number> {
  const { sizeBytes } = image.node;
  let clusters = 0;
  let countedTo = 0;
  for (let offset = 0; offset < sizeBytes; ) {
    const { length, zero, allocated } = await chainExtent(image, offset, sizeBytes - offset);
    if (!zero && allocated) {
      const first = Math.max(Math.floor(offset / cluster), countedTo);
      const end = Math.ceil((offset + length) / cluster);
      if (end > first) clusters += end - first;
      countedTo = Math.max(countedTo, end);
    }
    offset += length;
  }
  return clusters * cluster;
}
