/** The human monitor's commands: names, arguments and help in one table. */

import { execute } from '../commands/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { QEMU_VERSION_TEXT } from '../emulator/version.ts';
import { QmpError } from '../qmp/errors.ts';
import { BLOCK_HMP } from './block.ts';
import { dumpMemory } from './dump.ts';
import { HOTPLUG_HMP } from './hotplug.ts';
import { MIGRATION_HMP, MIGRATION_INFO } from './migration.ts';
import { need, numberOf } from './values.ts';
import { VM_SNAPSHOT_HMP, VM_SNAPSHOT_INFO } from './vm-snapshots.ts';

export interface HmpCommand {
  readonly args?: string;
  readonly help: string;
  readonly aliases?: readonly string[];
  /** What may stand as the first argument, for completion. */
  readonly complete?: (emulator: Emulator) => readonly string[];
  /** @returns what is printed, with bare newlines */
  readonly run: (emulator: Emulator, args: readonly string[]) => Promise<string> | string;
}

function switchOf(text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw new QmpError("Parameter 'up' expects 'on' or 'off'");
}

const MIB = 1024 * 1024;

export const INFO: Readonly<Record<string, HmpCommand>> = {
  ...MIGRATION_INFO,
  ...VM_SNAPSHOT_INFO,
  status: {
    help: 'whether the guest runs',
    async run(emulator) {
      const { status } = await execute(emulator, 'query-status', {});
      return `VM status: ${status === 'running' || status === 'paused' ? status : `paused (${status})`}\n`;
    },
  },
  version: { help: 'the version', run: ({ host }) => `${QEMU_VERSION_TEXT} (${host.programName})\n` },
  name: { help: "the machine's name", run: ({ config }) => (config.name === undefined ? '' : `${config.name}\n`) },
  uuid: {
    help: "the machine's UUID",
    run: async (emulator) => `${(await execute(emulator, 'query-uuid', {})).UUID}\n`,
  },
  kvm: {
    help: "whether the host's CPU runs the guest",
    run: ({ accelerator }) => `kvm support: ${accelerator === 'kvm' ? 'enabled' : 'disabled'}\n`,
  },
  cpus: {
    help: 'the CPUs',
    async run(emulator) {
      const cpus = await execute(emulator, 'query-cpus-fast', {});
      return cpus
        .map((cpu, index) => `${index === 0 ? '*' : ' '} CPU #${index}: thread_id=${cpu['thread-id']}\n`)
        .join('');
    },
  },
  registers: {
    help: "the CPU's registers",
    async run({ machine }) {
      if (machine === undefined) throw new QmpError('No CPU available');
      return `\nCPU#0\n${await machine.command('describe-cpu')}\n`;
    },
  },
  block: {
    help: 'the disks',
    async run(emulator) {
      const disks = await execute(emulator, 'query-block', {});
      return disks
        .map(({ device, inserted, qdev }) => {
          const name = device === '' ? (inserted?.['node-name'] ?? '') : device;
          const mode = inserted?.ro ? ', read-only' : '';
          return `${name} (${inserted?.['node-name']}): ${inserted?.file} (${inserted?.drv}${mode})\n    Attached to:      ${qdev}\n    Cache mode:       writeback\n`;
        })
        .join('\n');
    },
  },
  blockstats: {
    help: 'what the disks did',
    async run(emulator) {
      const disks = await execute(emulator, 'query-blockstats', {});
      return disks
        .map(({ device, stats, ...rest }) => {
          const numbers = stats as unknown as Readonly<Record<string, number>>;
          const shown = ['rd_bytes', 'wr_bytes', 'rd_operations', 'wr_operations', 'flush_operations'];
          return `${device || rest['node-name']}: ${shown.map((key) => `${key}=${numbers[key]}`).join(' ')}\n`;
        })
        .join('');
    },
  },
  chardev: {
    help: 'the character devices',
    async run(emulator) {
      const devices = await execute(emulator, 'query-chardev', {});
      return devices.map(({ label, filename }) => `${label}: filename=${filename}\n`).join('');
    },
  },
  network: {
    help: 'the network cards',
    run: ({ config, linksDown }) =>
      config.nics
        .map(({ device, netdev, mac }, index) => {
          const down = linksDown.has(netdev) || linksDown.has(device.id) ? ',link=down' : '';
          return `${device.id || `net${index}`}: index=0,type=nic,model=${device.driver}${mac ? `,macaddr=${mac}` : ''}${down}\n \\ ${netdev}: index=0,type=user\n`;
        })
        .join(''),
  },
  balloon: {
    help: 'how large the guest is',
    run: async (emulator) => `balloon: actual=${(await execute(emulator, 'query-balloon', {})).actual / MIB}\n`,
  },
  iothreads: {
    help: 'the I/O threads',
    async run(emulator) {
      const threads = await execute(emulator, 'query-iothreads', {});
      return threads.map((thread) => `${thread.id}:\n  thread_id=${thread['thread-id']}\n`).join('');
    },
  },
  memory_size_summary: {
    help: "the guest's memory",
    run: ({ config }) => `base memory: ${config.memoryBytes}\nplugged memory: 0\n`,
  },
  qtree: {
    help: 'the devices and their properties',
    run: ({ config }) =>
      config.devices
        .map(({ driver, id, properties }) => {
          const rows = Object.entries(properties).map(([name, value]) => `    ${name} = "${value}"\n`);
          return `  dev: ${driver}, id "${id}"\n${rows.join('')}`;
        })
        .join(''),
  },
};

export const HMP: Readonly<Record<string, HmpCommand>> = {
  ...BLOCK_HMP,
  ...HOTPLUG_HMP,
  ...MIGRATION_HMP,
  ...VM_SNAPSHOT_HMP,
  help: {
    args: '[command]',
    aliases: ['?'],
    help: 'this text',
    complete: () => Object.keys(HMP),
    run: (_emulator, [name]) => helpOf(name),
  },
  info: {
    args: '[what]',
    help: 'tells about something; without what, lists what there is',
    complete: () => Object.keys(INFO),
    run: runInfo,
  },
  stop: { aliases: ['s'], help: 'the guest stands still', run: silent('stop') },
  cont: { aliases: ['c'], help: 'the guest goes on', run: silent('cont') },
  quit: { aliases: ['q'], help: 'ends the emulator', run: silent('quit') },
  system_reset: { help: 'presses the reset button', run: silent('system_reset') },
  system_powerdown: { help: 'presses the power button', run: silent('system_powerdown') },
  system_wakeup: { help: 'wakes a sleeping guest', run: silent('system_wakeup') },
  nmi: { help: 'sends the guest a non-maskable interrupt', run: silent('inject-nmi') },
  balloon: {
    args: 'megabytes',
    help: 'asks the guest to be this large',
    async run(emulator, args) {
      const [value] = need(args, 'value');
      await execute(emulator, 'balloon', { value: numberOf(value, 'value') * MIB });
      return '';
    },
  },
  set_link: {
    args: 'name on|off',
    help: 'plugs in or unplugs the cable of a network card',
    complete: ({ config }) => config.nics.flatMap(({ device, netdev }) => [device.id, netdev]).filter(Boolean),
    async run(emulator, args) {
      const [name, up] = need(args, 'name', 'up');
      await execute(emulator, 'set_link', { name, up: switchOf(up) });
      return '';
    },
  },
  xp: { args: '/fmt addr', help: 'shows physical memory; fmt is a count, x d u or c, and b h w or g', run: dumpMemory },
  pmemsave: {
    args: 'addr size file',
    help: 'writes physical memory to a file',
    async run(emulator, args) {
      const [val, size, filename] = need(args, 'val', 'size', 'filename');
      await execute(emulator, 'pmemsave', { val: numberOf(val, 'val'), size: numberOf(size, 'size'), filename });
      return '';
    },
  },
  'qom-list': {
    args: 'path',
    help: "an object's properties",
    async run(emulator, [path = '/']) {
      const rows = await execute(emulator, 'qom-list', { path });
      return rows.map(({ name, type }) => `${name} (${type})\n`).join('');
    },
  },
  'qom-get': {
    args: 'path property',
    help: "a property's value",
    async run(emulator, args) {
      const [path, property] = need(args, 'path', 'property');
      const value = await execute(emulator, 'qom-get', { path, property });
      return `${JSON.stringify(value, (_key, one) => (typeof one === 'bigint' ? String(one) : one))}\n`;
    },
  },
  object_del: {
    args: 'id',
    help: 'removes an object',
    complete: ({ objects }) => [...objects.keys()],
    async run(emulator, args) {
      await execute(emulator, 'object-del', { id: need(args, 'id')[0] });
      return '';
    },
  },
  'chardev-remove': {
    args: 'id',
    help: 'removes a character device',
    complete: ({ chardevs }) => [...chardevs.keys()],
    async run(emulator, args) {
      await execute(emulator, 'chardev-remove', { id: need(args, 'id')[0] });
      return '';
    },
  },
  ringbuf_read: {
    args: 'device size',
    help: 'takes bytes out of a ring buffer',
    async run(emulator, args) {
      const [device, size] = need(args, 'device', 'size');
      return `${await execute(emulator, 'ringbuf-read', { device, size: numberOf(size, 'size') })}\n`;
    },
  },
  ringbuf_write: {
    args: 'device data',
    help: 'puts bytes into a ring buffer',
    async run(emulator, args) {
      const [device, data] = need(args, 'device', 'data');
      await execute(emulator, 'ringbuf-write', { device, data });
      return '';
    },
  },
};

function silent(name: 'stop' | 'cont' | 'quit' | 'system_reset' | 'system_powerdown' | 'system_wakeup' | 'inject-nmi') {
  return async (emulator: Emulator): Promise<string> => {
    await execute(emulator, name, {});
    return '';
  };
}

function lineOf(name: string, { args, aliases = [], help }: HmpCommand): string {
  return `${[name, ...aliases].join('|')}${args === undefined ? '' : ` ${args}`} -- ${help}\n`;
}

function helpOf(name: string | undefined): string {
  const rows = Object.entries(HMP).filter(
    ([one, { aliases }]) => name === undefined || one === name || aliases?.includes(name),
  );
  if (rows.length === 0) throw new QmpError(`unknown command: '${name}'`);
  return rows.map(([one, command]) => lineOf(one, command)).join('');
}

async function runInfo(emulator: Emulator, [what, ...rest]: readonly string[]): Promise<string> {
  if (what === undefined)
    return Object.entries(INFO)
      .map(([name, command]) => lineOf(`info ${name}`, command))
      .join('');
  if (!Object.hasOwn(INFO, what)) throw new QmpError(`unknown command: 'info ${what}'`);
  return INFO[what].run(emulator, rest);
}
