/** Files that are about to become images. */
import { unlinkSync } from 'node:fs';
import type { BlockNode } from '../../contract/index.ts';
import { openFileNode } from '../../host/node/block.ts';

/** Makes a file and fills it; a failure leaves none behind. */
export async function makeFile(path: string, fill: (file: BlockNode) => Promise<void>): Promise<void> {
  const file = openFileNode(path, { create: true, io: 'blocking' });
  try {
    await fill(file);
  } catch (error) {
    unlinkSync(path);
    throw error;
  } finally {
    await file.close();
  }
}
