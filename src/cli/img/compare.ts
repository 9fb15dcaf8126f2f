/** vireo-img compare and measure. */
import { UserError } from '../../base/index.ts';
import { alignDown, isZero, measureQcow2 } from '../../block/core.ts';
import type { BlockNode } from '../../contract/index.ts';
import { parseArguments, parseBytes, parseSwitch, wantsJson } from './arguments.ts';
import { chainExtents, extentCursor } from './chain.ts';
import { createValues } from './create.ts';
import { formatDriverNamed, type OpenedImage, openImage, openOptions } from './images.ts';
import { bufferPool, inOrder } from './pipeline.ts';
import { progressBar } from './text.ts';

/** Exit codes as qemu-img's. */
const EXIT = { same: 0, different: 1, failed: 2 } as const;
const SECTOR_BYTES = 512;
const CHUNK_BYTES = 2 ** 20;
/** Pairs of pieces under way at once. */
const PARALLEL = 4;

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
  const sides = [sideOf(a), sideOf(b)];
  const comparer = pieceComparer();
  for (let offset = 0; offset < size && comparer.found === undefined; ) {
    if (offset === common) {
      if ((await comparer.end()) !== undefined) break;
      say('Warning: Image size mismatch!');
    }
    const [left, right] = [await sides[0].at(offset, size), await sides[1].at(offset, size)];
    if (isStrict && left.allocated !== right.allocated) {
      const earlier = await comparer.end();
      return earlier === undefined ? `Strict mode: Offset ${offset} block status mismatch!` : mismatch(earlier);
    }
    let end = Math.min(left.end, right.end, offset < common ? common : size);
    const stored = [left, right].filter(({ zero }) => !zero);
    if (stored.length > 0) {
      end = Math.min(end, offset - (offset % CHUNK_BYTES) + CHUNK_BYTES);
      const nodes = stored.map(({ node }) => node);
      await comparer.add(offset, end - offset, nodes);
    }
    offset = end;
    report(offset / size);
  }
  const found = await comparer.end();
  return found === undefined ? undefined : mismatch(found);
}

/** QEMU names the sector. */
function mismatch(offset: number): string {
  return `Content mismatch at offset ${alignDown(offset, SECTOR_BYTES)}!`;
}

interface PieceComparer {
  /** The least offset known to differ so far. */
  readonly found: number | undefined;
  /** Compares a piece of two nodes, or of one with zeros, while others go on. */
  add(offset: number, length: number, nodes: readonly BlockNode[]): Promise<void>;
  /** Where the first difference is; waits for all pieces. */
  end(): Promise<number | undefined>;
}

function pieceComparer(): PieceComparer {
  const buffers = bufferPool(2 * PARALLEL, CHUNK_BYTES);
  const turns = inOrder(true);
  let found: number | undefined;
  return {
    get found() {
      return found;
    },
    async add(offset, length, nodes) {
      const taken = [await buffers.take(), await buffers.take()];
      turns.next().start(async () => {
        const parts = taken.map((buffer) => buffer.subarray(0, length));
        await Promise.all(nodes.map((node, i) => node.read(offset, parts[i])));
        const at = nodes.length === 2 ? firstDifference(parts[0], parts[1]) : firstNonZero(parts[0]);
        if (at >= 0) found = Math.min(found ?? Number.POSITIVE_INFINITY, offset + at);
        for (const buffer of taken) buffers.giveBack(buffer);
      });
      turns.check();
    },
    async end() {
      await turns.drain();
      return found;
    },
  };
}

interface Part {
  readonly node: BlockNode;
  readonly end: number;
  readonly zero: boolean;
  readonly allocated: boolean;
}

/** What an image has at an offset; beyond its end, zeros. Offsets must not go back. */
function sideOf(image: OpenedImage): { at(offset: number, size: number): Promise<Part> } {
  const { node } = image;
  const cursor = extentCursor(chainExtents(image, 0, node.sizeBytes));
  return {
    async at(offset, size) {
      const extent = offset < node.sizeBytes ? await cursor.at(offset) : undefined;
      if (extent === undefined) return { node, end: size, zero: true, allocated: false };
      const { length, zero, allocated } = extent;
      return { node, end: extent.offset + length, zero: zero || !allocated, allocated };
    },
  };
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b) === 0 ? -1 : a.findIndex((byte, i) => byte !== b[i]);
}

function firstNonZero(bytes: Uint8Array): number {
  return isZero(bytes) ? -1 : bytes.findIndex((byte) => byte !== 0);
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
  formatDriverNamed(formatName);
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
  for await (const { offset, length, zero, allocated } of chainExtents(image, 0, sizeBytes)) {
    if (!zero && allocated) {
      const first = Math.max(Math.floor(offset / cluster), countedTo);
      const end = Math.ceil((offset + length) / cluster);
      if (end > first) clusters += end - first;
      countedTo = Math.max(countedTo, end);
    }
  }
  return clusters * cluster;
}
