/** Overlays that nobody keeps (-snapshot). */
import { createQcow2, qcow2 } from '../qcow2/index.ts';
import { edgeTo, type GraphNode } from './node.ts';
import { type NodeTable, register, release } from './open.ts';

/** A node over another one; what is written to it is gone when it is closed. */
export async function temporaryOver(table: NodeTable, below: GraphNode, name = table.nextName()): Promise<GraphNode> {
  const backing = edgeTo(below, 'backing');
  try {
    const file = table.drivers.temporaryFile();
    await createQcow2(file, {
      sizeBytes: below.impl.sizeBytes,
      backing: { filename: below.filename, format: below.driver },
    });
    const impl = await qcow2.open(file, { name: below.filename, resolveBacking: async () => backing });
    const how = { readOnly: false, cache: below.cache };
    return register(table, {
      name,
      driver: 'qcow2',
      given: new Map(),
      how,
      cache: below.cache,
      filename: below.filename,
      impl,
      backing,
    });
  } catch (error) {
    below.parents.delete(backing);
    await release(table, below);
    throw error;
  }
}
