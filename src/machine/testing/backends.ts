/** What a host gives to the machines of tests: disks of zeros in memory, and random bytes that are none. */
import assert from 'node:assert/strict';
import { UserError } from '../../base/index.ts';
import { FakeDisk } from '../../hw/testing/fake-disk.ts';
import type { MachineBackends } from '../parts.ts';

export const testBackends: MachineBackends = {
  async openDisk({ file }) {
    if (file === 'missing') throw new UserError('there is no disk missing');
    return new FakeDisk(1024 * 1024).node;
  },
  async openNetwork() {
    const link = { takes: { checksum: false, tcp4: false, tcp6: false }, send() {}, connect() {}, resume() {} };
    return { link, close() {} };
  },
  async openShare({ folder }) {
    throw new UserError(`there is no folder ${folder}`);
  },
  sockets: {
    connect: () => assert.fail('no sockets'),
    listen: ({ kind }) => Promise.reject(new UserError(`there are no ${kind} sockets`)),
    openDatagram: () => assert.fail('no sockets'),
  },
  fillRandom: (target) => target.fill(4),
};
