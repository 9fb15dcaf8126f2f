/** Images with broken metadata: a clear error or plain content, bounded time and memory, no write far outside the image. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import type { ImageNode } from '../format.ts';
import { memoryNode } from '../memory.ts';

export interface HostileFixture {
  /** A sound image with data in it. */
  readonly sound: () => Promise<BlockNode>;
  readonly open: (file: BlockNode) => Promise<ImageNode>;
  /** Where numbers are that matter: ranges of the file. */
  readonly metadata: (bytes: Uint8Array) => readonly (readonly [from: number, to: number])[];
  readonly littleEndian: boolean;
  /** Puts checksums right again, so that what was damaged is looked at. */
  readonly mend?: (bytes: Uint8Array) => void;
  /** More than this the file may not become. */
  readonly fileMaxBytes: number;
  readonly rounds?: number;
  /** Of the rounds, at least so many must be refused, or the test looks at nothing. */
  readonly refusedMin: number;
}

/** Numbers that hurt: the ends of types, powers of two, small ones. */
const VALUES = [
  0n,
  1n,
  2n,
  511n,
  512n,
  4096n,
  2n ** 20n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  (2n ** 62n) | 4095n,
];

/** Reads and writes an image all over, as far as it lets. */
async function use(node: ImageNode): Promise<void> {
  const length = Math.min(node.sizeBytes, 2 ** 22);
  const failures: unknown[] = [];
  const attempt = async (what: () => Promise<unknown> | undefined) => {
    try {
      await what();
    } catch (error) {
      failures.push(error);
    }
  };
  await attempt(() => node.read(0, new Uint8Array(length)));
  await attempt(() => node.read(node.sizeBytes - Math.min(length, 1000), new Uint8Array(Math.min(length, 1000))));
  await attempt(() => node.extents(0, node.sizeBytes));
  await attempt(() => node.check?.('none'));
  if (!node.readOnly) {
    await attempt(() => node.write(0, new Uint8Array(Math.min(length, 70_000)).fill(1)));
    await attempt(() => node.write(Math.floor(length / 2), new Uint8Array(Math.min(length / 2, 5000)).fill(2)));
    await attempt(() => node.writeZeroes?.(0, Math.min(length, 200_000)));
    await attempt(() => node.flush());
  }
  await attempt(() => node.close());
  const [first] = failures;
  if (first !== undefined) throw first;
}

function damage(bytes: Uint8Array, { metadata, littleEndian }: HostileFixture, random: Random): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const ranges = metadata(bytes);
  for (let i = 1 + random.next(3); i > 0; i -= 1) {
    const [from, to] = ranges[random.next(ranges.length)];
    const width = [1, 4, 4, 8, 8][random.next(5)];
    const at = Math.min(from + random.next(Math.max(1, Math.floor((to - from) / 4))) * 4, bytes.length - 8);
    const value = random.next(4) === 0 ? BigInt(random.next(2 ** 32)) : VALUES[random.next(VALUES.length)];
    if (width === 1) bytes[at + random.next(4)] = Number(value & 0xffn);
    else if (width === 4) view.setUint32(at, Number(value & 0xffffffffn), littleEndian);
    else view.setBigUint64(at, value, littleEndian);
  }
}

/** Each implementation of a format runs it. */
export function hostileSuite(name: string, fixture: HostileFixture): void {
  const { rounds = 200, refusedMin, fileMaxBytes } = fixture;
  test(`${name}: damaged metadata gives an error of ours or content, never anything else`, async () => {
    const sound = await fixture.sound();
    const original = new Uint8Array(sound.sizeBytes);
    await sound.read(0, original);
    const random = randomFrom(17);
    let refused = 0;
    for (let round = 0; round < rounds; round += 1) {
      const bytes = original.slice();
      damage(bytes, fixture, random);
      fixture.mend?.(bytes);
      const file = memoryNode(0, { name: 'hostile', maxBytes: 2 ** 50 });
      await file.write(0, bytes);
      try {
        await use(await fixture.open(file));
      } catch (error) {
        assert.ok(error instanceof UserError, `round ${round}: ${error instanceof Error ? error.stack : error}`);
        assert.match(error.message, /hostile/);
        refused += 1;
      }
      assert.ok(file.sizeBytes <= fileMaxBytes, `round ${round}: the file has grown to ${file.sizeBytes} bytes`);
    }
    assert.ok(refused >= refusedMin, `${refused} of ${rounds} were refused`);
  });
}
