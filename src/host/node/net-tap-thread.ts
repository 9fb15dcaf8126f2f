/** The thread that waits for a tap device's frames, which Node's event loop cannot. */
import { readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { loadFfi } from './ffi.ts';
import { TAP_UNDER_WAY_MAX, TAP_WORD, type TapThreadData } from './net-tap-protocol.ts';

/** A frame of 64 KiB with its header and a tag. */
const BUFFER_BYTES = 65_536 + 64;
const BATCH_MAX = 64;
const WAIT_MILLIS = 100;
const POLLIN = 1;

const { fd, shared } = workerData as TapThreadData;
const words = new Int32Array(shared);
const { functions } = loadFfi()!.dlopen(null, { poll: { arguments: ['buffer', 'uint64', 'int32'], return: 'int32' } });
const pollRequest = new DataView(new ArrayBuffer(8));
pollRequest.setInt32(0, fd, true);
pollRequest.setInt16(4, POLLIN, true);
const buffer = new Uint8Array(BUFFER_BYTES);

while (Atomics.load(words, TAP_WORD.stop) === 0) {
  const underWay = Atomics.load(words, TAP_WORD.framesUnderWay);
  if (underWay >= TAP_UNDER_WAY_MAX) Atomics.wait(words, TAP_WORD.framesUnderWay, underWay, WAIT_MILLIS);
  else if (Number(functions.poll(new Uint8Array(pollRequest.buffer), 1n, WAIT_MILLIS)) > 0) readBatch();
}

function readBatch(): void {
  const frames: Uint8Array[] = [];
  try {
    while (frames.length < BATCH_MAX) frames.push(buffer.slice(0, readSync(fd, buffer)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
  }
  Atomics.add(words, TAP_WORD.framesUnderWay, frames.length);
  if (frames.length > 0)
    parentPort!.postMessage(
      frames,
      frames.map((frame) => frame.buffer as ArrayBuffer),
    );
}
