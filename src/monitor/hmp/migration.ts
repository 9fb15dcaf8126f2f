/** The human monitor's commands for machines that move. */
import { execute } from '../commands/index.ts';
import { CAPABILITIES, type Capability, PARAMETERS, type ParameterName } from '../migration/settings.ts';
import { QmpError } from '../qmp/errors.ts';
import type { HmpCommand } from './table.ts';

function need(args: readonly string[], name: string, index = 0): string {
  if (args[index] === undefined) throw new QmpError(`${name} is missing`);
  return args[index];
}

/** `256M`: sizes; bare numbers are bytes, milliseconds or percent. */
function figure(name: ParameterName, text: string): number {
  const [, digits, unit = ''] = /^(\d+)([kmgKMG]?)$/.exec(text) ?? [];
  if (digits === undefined) throw new QmpError(`'${text}' is not a number for ${name}`);
  // As with QEMU, a bare bandwidth is in MiB a second.
  const power = unit === '' ? (name === 'max-bandwidth' ? 2 : 0) : 'kmg'.indexOf(unit.toLowerCase()) + 1;
  return Number(digits) * 1024 ** power;
}

export const MIGRATION_INFO: Readonly<Record<string, HmpCommand>> = {
  migrate: {
    help: 'how the migration is going',
    async run(emulator) {
      const { status, ram, ...info } = await execute(emulator, 'query-migrate', {});
      const lines = status === undefined ? [] : [`Migration status: ${status}`];
      if (info['error-desc'] !== undefined) lines[0] += ` (${info['error-desc']})`;
      for (const [name, unit] of [
        ['total-time', 'ms'],
        ['expected-downtime', 'ms'],
        ['downtime', 'ms'],
        ['setup-time', 'ms'],
      ] as const)
        if (info[name] !== undefined) lines.push(`${name.replace('-', ' ')}: ${info[name]} ${unit}`);
      if (ram !== undefined) {
        const kib = (bytes: number) => `${Math.round(bytes / 1024)} kbytes`;
        lines.push(
          `transferred ram: ${kib(ram.transferred)}`,
          `throughput: ${ram.mbps.toFixed(2)} mbps`,
          `remaining ram: ${kib(ram.remaining)}`,
          `total ram: ${kib(ram.total)}`,
          `duplicate: ${ram.duplicate} pages`,
          `skipped: ${ram.skipped} pages`,
          `normal: ${ram.normal} pages`,
          `normal bytes: ${kib(ram['normal-bytes'])}`,
          `dirty sync count: ${ram['dirty-sync-count']}`,
          `page size: ${ram['page-size'] / 1024} kbytes`,
          `dirty pages rate: ${ram['dirty-pages-rate']} pages`,
        );
      }
      if (info['cpu-throttle-percentage'] !== undefined)
        lines.push(`cpu throttle percentage: ${info['cpu-throttle-percentage']}`);
      return lines.map((line) => `${line}\n`).join('');
    },
  },
  migrate_capabilities: {
    help: 'what migration was told to do',
    async run(emulator) {
      const rows = await execute(emulator, 'query-migrate-capabilities', {});
      return rows.map(({ capability, state }) => `${capability}: ${state ? 'on' : 'off'}\n`).join('');
    },
  },
  migrate_parameters: {
    help: 'the limits and figures of migration',
    async run(emulator) {
      const rows = await execute(emulator, 'query-migrate-parameters', {});
      return Object.entries(rows)
        .map(([name, value]) => `${name}: ${value}\n`)
        .join('');
    },
  },
};

export const MIGRATION_HMP: Readonly<Record<string, HmpCommand>> = {
  migrate: {
    args: '[-d] uri',
    help: 'sends the machine away; goes on in the background, and info migrate tells how',
    async run(emulator, args) {
      await execute(emulator, 'migrate', {
        uri: need(
          args.filter((word) => word !== '-d'),
          'uri',
        ),
      });
      return '';
    },
  },
  migrate_cancel: {
    help: 'ends the migration; the guest goes on here',
    async run(emulator) {
      await execute(emulator, 'migrate_cancel', {});
      return '';
    },
  },
  migrate_continue: {
    args: 'state',
    help: 'goes on with a migration that waits',
    async run({ migration }, args) {
      migration.continue(need(args, 'state'));
      return '';
    },
  },
  migrate_incoming: {
    args: 'uri',
    help: 'waits for a machine, after -incoming defer',
    async run(emulator, args) {
      await execute(emulator, 'migrate-incoming', { uri: need(args, 'uri') });
      return '';
    },
  },
  migrate_set_capability: {
    args: 'capability on|off',
    help: 'tells migration what to do',
    complete: () => CAPABILITIES,
    async run(emulator, args) {
      const [name, state] = [need(args, 'capability'), need(args, 'state', 1)];
      if (!CAPABILITIES.includes(name as Capability)) throw new QmpError(`there is no capability ${name}`);
      if (state !== 'on' && state !== 'off') throw new QmpError("Parameter 'state' expects 'on' or 'off'");
      const capabilities = [{ capability: name as Capability, state: state === 'on' }];
      await execute(emulator, 'migrate-set-capabilities', { capabilities });
      return '';
    },
  },
  migrate_set_parameter: {
    args: 'parameter value',
    help: 'sets a limit or figure of migration',
    complete: () => Object.keys(PARAMETERS),
    async run(emulator, args) {
      const name = need(args, 'parameter') as ParameterName;
      if (!Object.hasOwn(PARAMETERS, name)) throw new QmpError(`there is no parameter ${name}`);
      await execute(emulator, 'migrate-set-parameters', { [name]: figure(name, need(args, 'value', 1)) });
      return '';
    },
  },
};
