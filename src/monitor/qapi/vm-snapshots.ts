/** Snapshots of the whole machine inside its disks. */
import { arrayOf, command, field, str } from '../schema/types.ts';

const jobId = { 'job-id': field(str, 'of the job that it becomes') };
const tag = { tag: field(str, "the snapshot's name") };
const vmstate = { vmstate: field(str, "the node that keeps the machine's state") };
const devices = { devices: field(arrayOf(str), 'the nodes that are part of it') };

export const vmSnapshotCommands = {
  'snapshot-save': command({
    doc: 'Saves the machine into its disks as a job; it stands still meanwhile.',
    args: { ...jobId, ...tag, ...vmstate, ...devices },
    since: '6.0',
    examples: [],
  }),
  'snapshot-load': command({
    doc: 'Makes the machine what it was when a snapshot was taken, as a job.',
    args: { ...jobId, ...tag, ...vmstate, ...devices },
    since: '6.0',
    examples: [],
  }),
  'snapshot-delete': command({
    doc: 'Deletes a snapshot of the machine, as a job.',
    args: { ...jobId, ...tag, ...devices },
    since: '6.0',
    examples: [],
  }),
} as const;
