/** Texts that derive from the tables: -h, the help lists of options, query-command-line-options. */

import { UserError } from '../../base/index.ts';
import { objectOptions, objectTypes } from '../qapi/machine.ts';
import { chardevHelp } from './char-line.ts';
import { type GivenOption, isHelp } from './command-line.ts';
import { DEVICE_ALIASES, DEVICE_NAMES, MACHINES, TYPES } from './devices.ts';
import { logHelp } from './log-items.ts';
import { type OptionGroup, optionTable } from './table.ts';

const GROUPS: readonly OptionGroup[] = [
  'Machine',
  'Boot',
  'Disks',
  'Networks',
  'Lines and monitors',
  'Devices',
  'Process',
  'Help',
];
const TYPE_WORDS = { string: 'str', boolean: 'bool', number: 'uint32', size: 'size' } as const;

export function helpText(program: string): string {
  const groups = GROUPS.map((group) => {
    const rows = Object.entries(optionTable)
      .filter(([, spec]) => spec.group === group)
      .map(([name, { value, help, aliases = [] }]) => {
        const forms = [name, ...aliases].map((one) => `-${one}`).join(', ');
        return `  ${forms}${value === undefined ? '' : ` ${value}`}\n        ${help}\n`;
      });
    return `${group}:\n${rows.join('')}`;
  });
  return `Usage: ${program} [options] [disk image]\n\n${groups.join('\n')}`;
}

/** What query-command-line-options says, libvirt's way to learn of parameters. */
export function commandLineOptions() {
  return Object.entries(optionTable).flatMap(([name, { config, params, implied }]) => {
    if (params === undefined && implied === undefined) return [];
    const parameters = Object.entries(params ?? {}).map(([parameter, { type, help }]) => ({
      name: parameter,
      help,
      type,
    }));
    return [{ option: config ?? name, parameters }];
  });
}

/** The answer to an option that asks for help instead of saying something, or undefined. */
export async function optionHelp(
  options: readonly GivenOption[],
  models: () => Promise<readonly string[]>,
): Promise<string | undefined> {
  for (const { name, value, params } of options) {
    if (name === 'cpu' && (value === 'help' || value === '?')) {
      return `Available CPUs:\n${(await models()).map((model) => `  ${model}\n`).join('')}`;
    }
    if (name === 'd' && (value === 'help' || value === '?')) return logHelp();
    if (!isHelp(params)) continue;
    if (name === 'machine') return machineHelp();
    if (name === 'accel') return 'Accelerators supported:\nkvm\ntcg\n';
    if (name === 'device') return deviceHelp(params[0][1]);
    if (name === 'chardev') return chardevHelp();
    if (name === 'object') return objectHelp(params[0][1]);
    if (name === 'netdev' || name === 'nic') return 'Available netdev backend types:\nuser\n';
    const table = optionTable[name].params;
    if (table !== undefined) {
      const rows = Object.entries(table).map(
        ([key, { type, help = '' }]) => `  ${key}=<${TYPE_WORDS[type]}>  - ${help}\n`,
      );
      return `${name} options:\n${rows.join('')}`;
    }
  }
  return undefined;
}

function machineHelp(): string {
  const rows = MACHINES.flatMap(({ name, alias, doc, isDefault }) => {
    const own = `${name.padEnd(20)} ${doc}${isDefault ? ' (default)' : ''}\n`;
    return alias === undefined ? [own] : [`${alias.padEnd(20)} ${doc} (alias of ${name})\n`, own];
  });
  return `Supported machines are:\n${rows.join('')}`;
}

function deviceHelp(driver: string): string {
  const known = DEVICE_ALIASES[driver] ?? driver;
  if (driver === 'help' || driver === '?') {
    const categories = [...new Set(DEVICE_NAMES.map((name) => TYPES[name].category))];
    return categories
      .map((category) => {
        const rows = DEVICE_NAMES.filter((name) => TYPES[name].category === category).map(
          (name) => `name "${name}", bus ${TYPES[name].bus}, desc "${TYPES[name].doc}"\n`,
        );
        return `${category} devices:\n${rows.join('')}`;
      })
      .join('\n');
  }
  if (!DEVICE_NAMES.includes(known)) {
    throw new UserError(
      `-device ${driver},help: '${driver}' is not a valid device model name; -device help lists them`,
    );
  }
  const rows = Object.entries(TYPES[known].properties ?? {}).map(
    ([key, { type, help = '' }]) => `  ${`${key}=<${TYPE_WORDS[type]}>`.padEnd(28)} - ${help}\n`,
  );
  return `${known} options:\n${rows.join('')}`;
}

function objectHelp(type: string): string {
  if (!objectTypes.values.includes(type)) {
    return `List of user creatable objects:\n${objectTypes.values.map((name) => `  ${name}\n`).join('')}`;
  }
  const members = Object.keys(objectOptions.variants?.cases[type].members ?? {});
  return `${type} options:\n${members.map((name) => `  ${name}\n`).join('')}`;
}
