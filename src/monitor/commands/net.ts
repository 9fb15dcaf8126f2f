/** Handlers of qapi/net.ts. */
import type { netCommands } from '../qapi/net.ts';
import { deviceNotFound, QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
import { machineOf } from './run-state.ts';

export const netHandlers: Handlers<keyof typeof netCommands> = {
  async set_link(emulator, { name, up }) {
    const network = emulator.config.nics.findIndex(({ device, netdev }) => device.id === name || netdev === name);
    if (network < 0) throw deviceNotFound(name);
    await machineOf(emulator).command('set-link', { network, up });
    if (up) emulator.linksDown.delete(name);
    else emulator.linksDown.add(name);
    return DONE;
  },
  netdev_add() {
    throw new QmpError('networks cannot be added while the machine lives: give them with -netdev');
  },
  netdev_del({ config }, { id }) {
    if (!config.netdevs.some((netdev) => netdev.id === id)) throw deviceNotFound(id);
    throw new QmpError(`netdev '${id}' is in use`);
  },
};
