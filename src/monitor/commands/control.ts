/** Handlers of qapi/control.ts. */
import { versionInfo } from '../emulator/version.ts';
import { runLine } from '../hmp/run.ts';
import { commandLineOptions } from '../options/describe.ts';
import type { controlCommands } from '../qapi/control.ts';
import { schema } from '../qapi/index.ts';
import { QmpError } from '../qmp/errors.ts';
import { introspect } from '../schema/introspect.ts';
import { DONE, type Handlers } from './handler.ts';

const NO_UUID = '00000000-0000-0000-0000-000000000000';

export const controlHandlers: Handlers<keyof typeof controlCommands> = {
  qmp_capabilities(_emulator, { enable = [] }, session) {
    if (session === undefined) throw new QmpError('only a QMP client says hello');
    session.negotiate(enable);
    return DONE;
  },
  'query-version': ({ host }) => versionInfo(host.programName),
  'query-commands': () => Object.keys(schema.commands).map((name) => ({ name })),
  'query-qmp-schema': () => introspect(schema),
  'query-command-line-options'(_emulator, { option }) {
    const options = commandLineOptions();
    const chosen = option === undefined ? options : options.filter((one) => one.option === option);
    if (chosen.length === 0) throw new QmpError(`invalid option name: ${option}`);
    return chosen;
  },
  'human-monitor-command': (emulator, args) => runLine(emulator, args['command-line']),
  async quit(emulator) {
    // The reply goes out first.
    setTimeout(() => void emulator.quit('host-qmp-quit'), 0);
    return DONE;
  },
  'query-name': ({ config }) => ({ name: config.name }),
  'query-uuid': ({ config }) => ({ UUID: config.uuid ?? NO_UUID }),
  'query-target': () => ({ arch: 'x86_64' }),
  'query-kvm': ({ accelerator, host }) => ({ enabled: accelerator === 'kvm', present: host.hasKvm }),
};
