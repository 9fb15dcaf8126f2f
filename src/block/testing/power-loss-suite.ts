/**
 * The power goes at any request: what was flushed must be there, byte for byte, the rest zeros or what was
 * written, and the tables sound. Each format that is written runs it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import type { ImageNode } from '../format.ts';
import { type Loss, type PowerLossFile, powerLossFile } from './power-loss.ts';

const SLOTS = 10;
const SLOT_BYTES = 8192;
/** More rounds: VIREO_POWER_LOSSES=1000. */
const CRASHES = Number(process.env.VIREO_POWER_LOSSES ?? 12);
/** After so many crashes most blocks have their place: begin again. */
const CRASHES_AN_IMAGE = 3;

export interface PowerLossFixture {
  /** The disk has ten slots so far apart, each written at its beginning: wide enough to touch several tables. */
  readonly strideBytes: number;
  readonly create: (file: BlockNode, sizeBytes: number, random: Random) => Promise<void>;
  readonly open: (file: BlockNode, readOnly: boolean, random: Random) => Promise<ImageNode>;
  /** Looks at the file after a loss, before it is opened. */
  readonly afterLoss?: (file: BlockNode) => Promise<void>;
}

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

async function contentOf(node: ImageNode, strideBytes: number): Promise<Uint8Array> {
  const content = new Uint8Array(SLOTS * SLOT_BYTES);
  for (let slot = 0; slot < SLOTS; slot += 1) {
    await node.read(slot * strideBytes, content.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES));
  }
  return content;
}

async function changeForEver(node: ImageNode, model: Model, strideBytes: number, random: Random): Promise<never> {
  for (;;) {
    const [slot, from] = [random.next(SLOTS), random.next(SLOT_BYTES)];
    const length = 1 + random.next(SLOT_BYTES - from);
    const at = slot * SLOT_BYTES + from;
    const bytes = new Uint8Array(length).fill(1 + random.next(255));
    model.unsure.fill(1, at, at + length);
    await node.write(slot * strideBytes + from, bytes);
    model.bytes.set(bytes, at);
    if (random.next(2) > 0) continue;
    await node.flush();
    model.unsure.fill(0);
  }
}

type Case = PowerLossFixture & { readonly file: PowerLossFile; readonly model: Model; readonly random: Random };

/** Holds what is there against the model, and takes what may be either into it. */
async function compare({ file, model, open, strideBytes, random }: Case, readOnly: boolean, what: string) {
  const node = await open(file.node, readOnly, random);
  const checked = await node.check?.('none');
  assert.deepEqual(
    { what, corruptions: checked?.corruptions ?? 0 },
    { what, corruptions: 0 },
    `${what}: ${checked?.messages.join('; ')}`,
  );
  const content = await contentOf(node, strideBytes);
  const lost = content.findIndex((byte, i) => byte !== model.bytes[i] && model.unsure[i] === 0);
  assert.equal(lost, -1, `${what}: the byte at ${lost} was flushed and is not there`);
  if (readOnly) return;
  model.bytes.set(content);
  model.unsure.fill(0);
  await node.close();
}

async function crash(one: Case, what: string): Promise<void> {
  const { file, model, open, afterLoss, strideBytes, random } = one;
  const loss: Loss = random.next(3) === 0 ? 'sectors' : 'all but the last';
  const node = await open(file.node, false, random);
  if (random.next(2) === 0) file.failAfter(random.next(30));
  else file.failAtFlush(random.next(10));
  await assert.rejects(changeForEver(node, model, strideBytes, random), /the power is gone/);
  await file.lose(random, loss);
  await afterLoss?.(file.node);
  // It may go once more, while the image is opened.
  if (random.next(2) === 0) {
    if (random.next(2) === 0) file.failAfter(random.next(8));
    else file.failAtFlush(random.next(2));
    await open(file.node, false, random).catch(() => {});
    await file.lose(random, loss);
  }
  await compare(one, true, what);
  await compare(one, false, what);
}

export function powerLossSuite(name: string, fixture: PowerLossFixture): void {
  test(`${name}: the power goes again and again`, async () => {
    const random = randomFrom(3);
    for (let round = 0; round < CRASHES / CRASHES_AN_IMAGE; round += 1) {
      const file = growing(powerLossFile());
      await fixture.create(file.node, SLOTS * fixture.strideBytes, random);
      const model = { bytes: new Uint8Array(SLOTS * SLOT_BYTES), unsure: new Uint8Array(SLOTS * SLOT_BYTES) };
      for (let i = 0; i < CRASHES_AN_IMAGE; i += 1) {
        await crash({ ...fixture, file, model, random }, `round ${round}, crash ${i}`);
      }
    }
  });
}
