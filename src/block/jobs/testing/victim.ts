/**
 * Runs a job on files until it is killed or done, and says `begun` when it starts.
 * Arguments: what (stream, commit or backup), the folder of base.qcow2 and top.qcow2.
 */

import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { openFileNode } from '../../../host/node/index.ts';
import { qcow2 } from '../../qcow2/index.ts';
import { backupJob, commitJob, liveNode, streamJob } from '../index.ts';

const [what, folder] = process.argv.slice(2);
const file = (name: string) => openFileNode(join(folder, name), { io: 'blocking' });
const base = await qcow2.open(file('base.qcow2'), { name: 'base' });
const top = await qcow2.open(file('top.qcow2'), { name: 'top', resolveBacking: async () => base });
const live = liveNode(top, 4096);
writeSync(1, 'begun\n');
const job =
  what === 'stream'
    ? streamJob(live)
    : what === 'commit'
      ? commitJob(live, { base })
      : backupJob(live, { target: openFileNode(join(folder, 'target.raw')) });
if (what === 'commit') {
  await job.ready;
  job.complete();
}
await job.done;
