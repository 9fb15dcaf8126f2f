/**
 * The power goes at any request: what was flushed must be there, byte for byte, and the rest zeros or what was written.
 * Without any one of the barriers of `commit`, of `writeHeader` or of `applyLog` a test here fails.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import type { ImageNode } from '../format.ts';
import { type Loss, type PowerLossFile, powerLossFile } from '../testing/power-loss.ts';
import { readHeader } from './headers.ts';
import { createVhdx, vhdx } from './index.ts';
import { findLogSequence, isEmptyLog } from './log.ts';

const MIB = 2 ** 20;
/** Slots so far apart that their entries lie in different pages of the table; each is written at its beginning. */
const STRIDE_BYTES = 600 * MIB;
const SLOTS = 10;
const SLOT_BYTES = 8192;
/** More rounds: VIREO_POWER_LOSSES=1000 node --test src/block/vhdx/power-loss.test.ts */
const CRASHES = Number(process.env.VIREO_POWER_LOSSES ?? 15);
/** After so many crashes most blocks have their place: begin again. */
const CRASHES_AN_IMAGE = 3;

/** What the slots must hold. */
interface Model {
  readonly bytes: Uint8Array;
  /** 1 where a byte changed after the last flush: it may be either. */
  readonly unsure: Uint8Array;
}

/** Without `resize`, which settles everything on the disk of this model: a file grows by being written. */
function growing(file: PowerLossFile): PowerLossFile {
  return { ...file, node: Object.create(file.node, { resize: { value: undefined } }) as BlockNode };
}

async function contentOf(node: ImageNode): Promise<Uint8Array> {
  const content = new Uint8Array(SLOTS * SLOT_BYTES);
  for (let slot = 0; slot < SLOTS; slot += 1) {
    await node.read(slot * STRIDE_BYTES, content.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES));
  }
  return content;
}

async function changeForEver(node: ImageNode, model: Model, random: Random): Promise<never> {
  for (;;) {
    const [slot, from] = [random.next(SLOTS), random.next(SLOT_BYTES)];
    const length = 1 + random.next(SLOT_BYTES - from);
    const at = slot * SLOT_BYTES + from;
    const bytes = new Uint8Array(length).fill(1 + random.next(255));
    model.unsure.fill(1, at, at + length);
    await node.write(slot * STRIDE_BYTES + from, bytes);
    model.bytes.set(bytes, at);
    if (random.next(2) > 0) continue;
    await node.flush();
    model.unsure.fill(0);
  }
}

/** Holds what is there against the model, and takes what may be either into it. */
async function compare(file: PowerLossFile, model: Model, readOnly: boolean, what: string): Promise<void> {
  const node = await vhdx.open(file.node, { name: 'image', readOnly });
  const { corruptions, messages } = await node.check!('none');
  assert.deepEqual({ what, corruptions, messages }, { what, corruptions: 0, messages: [] });
  const content = await contentOf(node);
  const lost = content.findIndex((byte, i) => byte !== model.bytes[i] && model.unsure[i] === 0);
  assert.equal(lost, -1, `${what}: the byte at ${lost} was flushed and is not there`);
  if (readOnly) return;
  model.bytes.set(content);
  model.unsure.fill(0);
  await node.close();
}

async function crash(file: PowerLossFile, model: Model, random: Random, what: string): Promise<void> {
  const loss: Loss = random.next(3) === 0 ? 'sectors' : 'all but the last';
  const node = await vhdx.open(file.node, { name: 'image', random: random.bytes });
  if (random.next(2) === 0) file.failAfter(random.next(30));
  else file.failAtFlush(random.next(10));
  await assert.rejects(changeForEver(node, model, random), /the power is gone/);
  await file.lose(random, loss);
  // A log that counts has something whole in it: others would call the image broken.
  const { header } = await readHeader(file.node, 'image');
  if (!isEmptyLog(header)) assert.ok((await findLogSequence(file.node, header, 'image')) !== undefined, what);
  // It may go once more, while the log is applied.
  if (random.next(2) === 0) {
    if (random.next(2) === 0) file.failAfter(random.next(8));
    else file.failAtFlush(random.next(2));
    await vhdx.open(file.node, { name: 'image', random: random.bytes }).catch(() => {});
    await file.lose(random, loss);
  }
  await compare(file, model, true, what);
  await compare(file, model, false, what);
}

for (const zeroBlocks of [true, false]) {
  test(`vhdx: the power goes again and again, blocks ${zeroBlocks ? 'zero' : 'absent'} at first`, async () => {
    const random = randomFrom(zeroBlocks ? 3 : 4);
    for (let round = 0; round < CRASHES / CRASHES_AN_IMAGE; round += 1) {
      const file = growing(powerLossFile());
      await createVhdx(file.node, {
        sizeBytes: SLOTS * STRIDE_BYTES,
        blockBytes: MIB,
        zeroBlocks,
        random: random.bytes,
      });
      const model = { bytes: new Uint8Array(SLOTS * SLOT_BYTES), unsure: new Uint8Array(SLOTS * SLOT_BYTES) };
      for (let i = 0; i < CRASHES_AN_IMAGE; i += 1) await crash(file, model, random, `round ${round}, crash ${i}`);
    }
  });
}
