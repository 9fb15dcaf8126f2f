/** Handlers of qapi/net.ts. */
import { readNetdev } from '../options/build-devices.ts';
import type { netCommands } from '../qapi/net.ts';
import { deviceNotFound, QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
import { textParams } from './hotplug.ts';
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
  netdev_add(emulator, options) {
    const { config } = emulator;
    const netdev = readNetdev(textParams(options));
    if (config.netdevs.some(({ id }) => id === netdev.id)) throw new QmpError(`Duplicate ID '${netdev.id}' for netdev`);
    emulator.config = { ...config, netdevs: [...config.netdevs, netdev] };
    return DONE;
  },
  netdev_del(emulator, { id }) {
    const { config } = emulator;
    if (!config.netdevs.some((netdev) => netdev.id === id)) throw deviceNotFound(id);
    if (config.nics.some(({ netdev }) => netdev === id)) throw new QmpError(`netdev '${id}' is in use`);
    emulator.config = { ...config, netdevs: config.netdevs.filter((netdev) => netdev.id !== id) };
    return DONE;
  },
};
