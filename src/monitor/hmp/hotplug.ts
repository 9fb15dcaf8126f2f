/** The human monitor's commands that plug in and out, in the words of the command line. */
import { execute } from '../commands/index.ts';
import { readChardev } from '../options/char-line.ts';
import { readObject } from '../options/object-option.ts';
import { type Params, parseParams } from '../options/opts.ts';
import { QmpError } from '../qmp/errors.ts';
import type { HmpCommand } from './table.ts';
import { need } from './values.ts';

const record = (params: Params) => Object.fromEntries(params);

export const HOTPLUG_HMP: Readonly<Record<string, HmpCommand>> = {
  device_add: {
    args: 'driver[,property=value...]',
    help: 'plugs a device in, as -device',
    async run(emulator, args) {
      await execute(emulator, 'device_add', record(parseParams(need(args, 'driver')[0], 'driver')) as never);
      return '';
    },
  },
  device_del: {
    args: 'id',
    help: 'asks the guest to let go of a device',
    complete: ({ config }) => config.devices.map(({ id }) => id).filter(Boolean),
    async run(emulator, args) {
      await execute(emulator, 'device_del', { id: need(args, 'id')[0] });
      return '';
    },
  },
  drive_add: {
    args: 'dummy if=none,file=file,id=id[,format=format]',
    help: 'content for a device_add, as -drive; what is first is not looked at',
    async run(emulator, args) {
      const [, text] = need(args, 'dummy', 'the drive');
      const { if: bus = 'none', file, id, format = 'raw', ...rest } = record(parseParams(text));
      if (bus !== 'none') throw new QmpError(`if=${bus} cannot be plugged in; if=none and device_add can`);
      if (file === undefined || id === undefined) throw new QmpError('file and id are needed');
      const node = { driver: format, 'node-name': id, file: { driver: 'file', filename: file }, ...rest };
      await execute(emulator, 'blockdev-add', node as never);
      return 'OK\n';
    },
  },
  drive_del: {
    args: 'id',
    help: 'removes the content that drive_add has added',
    async run(emulator, args) {
      await execute(emulator, 'blockdev-del', { 'node-name': need(args, 'id')[0] });
      return '';
    },
  },
  netdev_add: {
    args: 'user,id=id[,restrict=on|off][,hostfwd=rule]',
    help: 'what a network card can be plugged into, as -netdev',
    async run(emulator, args) {
      const params = parseParams(need(args, 'the network')[0], 'type');
      const forwards = params.filter(([key]) => key === 'hostfwd').map(([, str]) => ({ str }));
      const values = params.filter(([key]) => key !== 'hostfwd');
      const rest = values.map(([key, value]) => [key, value === 'on' ? true : value === 'off' ? false : value]);
      const hostfwd = forwards.length > 0 ? { hostfwd: forwards } : {};
      await execute(emulator, 'netdev_add', { ...Object.fromEntries(rest), ...hostfwd } as never);
      return '';
    },
  },
  netdev_del: {
    args: 'id',
    help: 'removes it again',
    complete: ({ config }) => config.netdevs.map(({ id }) => id),
    async run(emulator, args) {
      await execute(emulator, 'netdev_del', { id: need(args, 'id')[0] });
      return '';
    },
  },
  object_add: {
    args: 'type,id=id[,property=value...]',
    help: 'makes an object, as -object',
    async run(emulator, args) {
      const { type, id, properties } = readObject(parseParams(need(args, 'the object')[0], 'qom-type'));
      await execute(emulator, 'object-add', { 'qom-type': type, id, ...properties } as never);
      return '';
    },
  },
  'chardev-add': {
    args: 'kind,id=id[,...]',
    help: 'a character device, as -chardev',
    async run(emulator, args) {
      const config = readChardev(parseParams(need(args, 'the device')[0], 'backend'));
      if (emulator.chardevs.has(config.id)) throw new QmpError(`Chardev with id '${config.id}' already exists`);
      await emulator.addChardev(config);
      return '';
    },
  },
  sendkey: {
    args: 'keys',
    help: "presses keys of the guest's keyboard together, such as ctrl-alt-delete",
    async run(emulator, args) {
      const keys = need(args, 'keys')[0]
        .split('-')
        .map((data) => ({ type: 'qcode', data }));
      await execute(emulator, 'send-key', { keys } as never);
      return '';
    },
  },
  watchdog_action: {
    args: 'action',
    help: 'what is done when a watchdog expires: reset, shutdown, poweroff, pause, debug, none or inject-nmi',
    async run(emulator, args) {
      await execute(emulator, 'watchdog-set-action', { action: need(args, 'action')[0] } as never);
      return '';
    },
  },
};
