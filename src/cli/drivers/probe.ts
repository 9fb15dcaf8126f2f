/** Which format an image has that nobody stated one for. */
import { qcow2 } from '../../block/core.ts';
import type { BlockNode } from '../../contract/index.ts';
import { FORMAT_DRIVERS, type FormatDriver, formatDriverNamed } from './registry.ts';

/** What formats are told by. */
const PROBE_BYTES = 2048;

/** The least that an image of a format other than raw and qcow2 begins with; their own probes look closer. */
const SIGNATURES: readonly (readonly [at: number, text: string])[] = [
  [0, 'QFI\xfb'],
  [0x40, '\x7f\x10\xda\xbe'],
  [0, 'conectix'],
  [0, 'vhdxfile'],
  [0, 'KDMV'],
  [0, 'COWD'],
  [0, 'LUKS\xba\xbe'],
  [0, 'OOOM'],
  [0, 'WithouFreSpacExt'],
  [0, 'WithoutFreeSpace'],
  [0, 'Bochs Virtual HD Image'],
  [0, '#!/bin/sh\n#V2.0'],
];
/** True when an image with this head may be of another format than raw or qcow2. */
export function mayBeOther(head: Uint8Array, name: string): boolean {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  const isSigned = SIGNATURES.some(([at, text]) => bytes.toString('latin1', at, at + text.length) === text);
  if (isSigned || /\.dmg$/i.test(name)) return true;
  // A descriptor of a vmdk: a text whose first line that is no comment is its version.
  const lines = bytes
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim());
  return (
    lines
      .find((line) => line !== '' && !line.startsWith('#'))
      ?.toLowerCase()
      .startsWith('version') === true
  );
}

/** The format that is surest of the image's first bytes. */
export async function probeFormat(file: BlockNode, name: string): Promise<FormatDriver> {
  const head = new Uint8Array(Math.min(PROBE_BYTES, file.sizeBytes));
  await file.read(0, head);
  if (qcow2.probe(head, name) > 0) return formatDriverNamed('qcow2');
  let best = { driver: formatDriverNamed('raw'), score: 1 };
  if (!mayBeOther(head, name)) return best.driver;
  for (const driver of FORMAT_DRIVERS) {
    const score = (await driver.load()).probe(head, name);
    if (score > best.score) best = { driver, score };
  }
  return best.driver;
}
