/** Handlers of qapi/misc.ts. */
import type { miscCommands } from '../qapi/misc.ts';
import { QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';

export const miscHandlers: Handlers<keyof typeof miscCommands> = {
  'query-fdsets'({ fdsets }) {
    const sets = [...new Set(fdsets.map(({ set }) => set))];
    return sets.map((set) => ({
      'fdset-id': set,
      fds: fdsets
        .filter((one) => one.set === set)
        .map(({ fd, opaque }) => ({ fd, ...(opaque === undefined ? {} : { opaque }) })),
    }));
  },
  'remove-fd'(emulator, { 'fdset-id': set, fd }) {
    const left = emulator.fdsets.filter((one) => one.set !== set || (fd !== undefined && one.fd !== fd));
    if (left.length === emulator.fdsets.length) {
      throw new QmpError(`File descriptor named 'fdset-id:${set}${fd === undefined ? '' : `, fd:${fd}`}' not found`);
    }
    emulator.fdsets = left;
    return DONE;
  },
  getfd: noDescriptor,
  'add-fd': noDescriptor,
  closefd(_emulator, { fdname }) {
    throw new QmpError(`File descriptor named '${fdname}' not found`);
  },
  screendump() {
    throw new QmpError('There is no console to take a screendump from');
  },
  'query-vnc': () => ({ enabled: false }),
  'query-display-options': () => ({ type: 'none' }),
  'query-mice': () => [],
  'query-pci': ({ config }) => [
    {
      bus: 0,
      devices: config.devices
        .filter(({ slot }) => slot !== undefined)
        .map(({ driver, id, slot }) => ({ bus: 0, slot, function: 0, qdev_id: id, class_info: { desc: driver } })),
    },
  ],
  'query-dirty-rate': () => ({
    status: 'unstarted',
    'sample-pages': 0,
    mode: 'page-sampling',
    'start-time': 0,
    'calc-time': 0,
  }),
};

/** Node's sockets take no file descriptors: for whoever sends one, it is as if none had come. */
function noDescriptor(): never {
  throw new QmpError('No file descriptor supplied via SCM_RIGHTS');
}
