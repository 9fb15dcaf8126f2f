/** A thread of the codec pool: packs and unpacks clusters until the process ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { openCodec } from './block-codec.ts';
import { codecSlots } from './block-codec-slots.ts';

const slots = codecSlots((workerData as { memory: SharedArrayBuffer }).memory);
const codec = openCodec();
parentPort!.postMessage(codec === undefined ? 'none' : 'ready');

while (codec !== undefined) {
  const { slot, job, sourceBytes, targetBytes } = slots.take();
  const source = slots.source(slot).subarray(0, sourceBytes);
  const target = slots.target(slot).subarray(0, targetBytes);
  const kind = job.endsWith('zlib') ? 'zlib' : 'zstd';
  const result = job.startsWith('pack')
    ? codec.compress(kind, source, target)
    : Number(codec.decompress(kind, source, target));
  if (slots.finish(slot, result)) parentPort!.postMessage('done');
}
