/** vireo-img bench: how fast an image answers. */
import { UserError } from '../../base/index.ts';
import type { ImageNode } from '../../block/core.ts';
import { oneName, parseArguments, parseBytes } from './arguments.ts';
import { openOptions, withImage } from './images.ts';

interface Plan {
  readonly count: number;
  readonly depth: number;
  readonly bufferBytes: number;
  readonly stepBytes: number;
  readonly offset: number;
  readonly isWrite: boolean;
  readonly pattern: number;
  /** Requests between flushes, or 0. */
  readonly flushInterval: number;
  /** Flushes wait for all requests under way, and no others begin before they are done. */
  readonly isDrained: boolean;
}

export async function benchCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    c: 'value',
    d: 'value',
    f: 'value',
    'flush-interval': 'value',
    'no-drain': 'flag',
    i: 'value',
    n: 'flag',
    o: 'value',
    pattern: 'value',
    q: 'flag',
    s: 'value',
    S: 'value',
    t: 'value',
    w: 'flag',
    U: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const number = (option: string, standard: number, what: string) =>
    parseBytes(args.get(option) ?? String(standard), what);
  const bufferBytes = number('s', 4096, 'buffer size');
  const plan: Plan = {
    count: number('c', 75_000, 'request count'),
    depth: number('d', 64, 'queue depth'),
    bufferBytes,
    stepBytes: number('S', 0, 'step size') || bufferBytes,
    offset: number('o', 0, 'offset'),
    isWrite: args.has('w'),
    pattern: number('pattern', 0, 'pattern byte') & 0xff,
    flushInterval: number('flush-interval', 0, 'flush interval'),
    isDrained: !args.has('no-drain'),
  };
  if (plan.bufferBytes === 0 || plan.depth === 0)
    throw new UserError('the buffer size and the queue depth must be at least 1');
  if (plan.flushInterval > 0 && !plan.isWrite) throw new UserError('--flush-interval is only available in write tests');
  if (plan.flushInterval > 0 && plan.flushInterval < plan.depth)
    throw new UserError("Flush interval can't be smaller than depth");
  return withImage(oneName(args), { ...openOptions(args), writable: plan.isWrite }, async ({ filename, node }) => {
    if (plan.offset + plan.bufferBytes > node.sizeBytes) {
      throw new UserError(
        `${filename}: ${plan.bufferBytes} bytes at ${plan.offset} do not fit in its ${node.sizeBytes} bytes`,
      );
    }
    const say = (text: string) => {
      if (!args.has('q')) process.stdout.write(`${text}\n`);
    };
    const { count, depth, stepBytes, offset, isWrite } = plan;
    const what = `${count} ${isWrite ? 'write' : 'read'} requests, ${bufferBytes} bytes each, ${depth} in parallel`;
    say(`Sending ${what} (starting at offset ${offset}, step size ${stepBytes})`);
    if (plan.flushInterval > 0) say(`Sending flush every ${plan.flushInterval} requests`);
    const start = performance.now();
    await runPlan(node, plan);
    say(`Run completed in ${((performance.now() - start) / 1000).toFixed(3)} seconds.`);
    return 0;
  });
}

async function runPlan(node: ImageNode, plan: Plan): Promise<void> {
  const { count, depth, bufferBytes, isWrite, flushInterval } = plan;
  let next = 0;
  let { offset } = plan;
  let running = 0;
  let drained: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  /** Flushes when `flushInterval` requests are done; without `isDrained` others go on meanwhile. */
  const flush = async () => {
    if (plan.isDrained) {
      drained = Promise.withResolvers<void>();
      if (running === 0) drained.resolve();
      await drained.promise;
    }
    await node.flush();
    drained = undefined;
  };
  let flushing: Promise<void> | undefined;
  const worker = async () => {
    const buffer = new Uint8Array(bufferBytes).fill(plan.pattern);
    for (;;) {
      if (plan.isDrained) while (flushing !== undefined) await flushing;
      if (next >= count) return;
      next += 1;
      const isFlushed = flushInterval > 0 && next % flushInterval === 0;
      const at = offset;
      offset = (offset + plan.stepBytes) % node.sizeBytes;
      if (offset + bufferBytes > node.sizeBytes) offset = 0;
      running += 1;
      await (isWrite ? node.write(at, buffer) : node.read(at, buffer));
      running -= 1;
      if (running === 0) drained?.resolve();
      if (!isFlushed) continue;
      flushing = flush().finally(() => {
        flushing = undefined;
      });
      await flushing;
    }
  };
  await Promise.all(Array.from({ length: Math.min(depth, count) }, worker));
}
