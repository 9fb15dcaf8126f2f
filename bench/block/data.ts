/** The disk that the block benchmarks copy: data of several kinds, zeros and holes, the same bytes every time. */
import { open } from 'node:fs/promises';
import { randomFrom } from '../../src/contract/testing/random.ts';

const MIB = 2 ** 20;
const CLUSTER_BYTES = 65536;

/** What a megabyte is made of. */
type Kind = 'hole' | 'zeros' | 'random' | 'text' | 'mixed';
/** A fifth of the disk is holes, a tenth zeros that are stored; the rest is data. */
const KINDS: readonly Kind[] = [
  'hole',
  'text',
  'random',
  'mixed',
  'text',
  'hole',
  'mixed',
  'random',
  'text',
  'zeros',
] as const;

/** Writes `sizeBytes` (whole megabytes) to a new file. */
export async function writeDisk(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(sizeBytes);
  const random = randomFrom(1);
  const noise = random.bytes(4 * MIB);
  const words = Array.from({ length: 600 }, () => String.fromCharCode(...random.bytes(2 + random.next(9)).map(letter)));
  const chunk = new Uint8Array(MIB);
  for (let at = 0; at < sizeBytes; at += MIB) {
    const kind = KINDS[random.next(KINDS.length)];
    if (kind === 'hole') continue;
    for (let from = 0; from < MIB; from += CLUSTER_BYTES) {
      const part = chunk.subarray(from, from + CLUSTER_BYTES);
      fill(part, kind === 'mixed' ? (['zeros', 'text', 'random'] as const)[random.next(3)] : kind);
    }
    await file.write(chunk, 0, MIB, at);
  }

  function fill(part: Uint8Array, kind: Kind): void {
    if (kind === 'random') {
      const from = random.next(noise.length - part.length);
      part.set(noise.subarray(from, from + part.length));
      new DataView(part.buffer, part.byteOffset).setUint32(0, random.next(2 ** 32));
    } else if (kind === 'text') {
      let text = '';
      while (text.length < part.length) text += `${words[random.next(words.length)]} `;
      Buffer.from(part.buffer, part.byteOffset, part.length).write(text, 'latin1');
    } else {
      part.fill(0);
    }
  }
}

function letter(byte: number): number {
  return 0x61 + (byte % 26);
}
