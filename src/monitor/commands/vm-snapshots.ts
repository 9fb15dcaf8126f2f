/** Handlers of qapi/vm-snapshots.ts. */
import type { vmSnapshotCommands } from '../qapi/vm-snapshots.ts';
import { DONE, type Handlers } from './handler.ts';
import { machineOf } from './run-state.ts';

export const vmSnapshotHandlers: Handlers<keyof typeof vmSnapshotCommands> = {
  async 'snapshot-save'(emulator, { 'job-id': job, tag, vmstate, devices }) {
    const order = { name: tag, scope: { vmstate, devices }, replaces: false, job };
    await machineOf(emulator).command('save-vm', order);
    return DONE;
  },
  async 'snapshot-load'(emulator, { 'job-id': job, tag, vmstate, devices }) {
    await machineOf(emulator).command('load-vm', { name: tag, scope: { vmstate, devices }, replaces: false, job });
    return DONE;
  },
  async 'snapshot-delete'(emulator, { 'job-id': job, tag, devices }) {
    await machineOf(emulator).command('delete-vm', { name: tag, scope: { devices }, replaces: false, job });
    return DONE;
  },
};
