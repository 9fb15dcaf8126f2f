/** Handlers of qapi/run-state.ts. */
import type { Emulator } from '../emulator/emulator.ts';
import { panicAction, watchdogAction } from '../options/build-actions.ts';
import type { runStateCommands } from '../qapi/run-state.ts';
import { QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';

/** The machine; -machine none has none. */
export function machineOf({ machine }: Emulator) {
  if (machine === undefined) throw new QmpError('there is no machine (-machine none)');
  return machine;
}

export const runStateHandlers: Handlers<keyof typeof runStateCommands> = {
  'query-status': ({ state }) => ({ running: state === 'running', singlestep: false, status: state }),
  async stop(emulator) {
    await emulator.stop();
    return DONE;
  },
  async cont(emulator) {
    await emulator.cont();
    return DONE;
  },
  async system_reset(emulator) {
    await machineOf(emulator).command('reset');
    return DONE;
  },
  async system_powerdown(emulator) {
    await machineOf(emulator).command('press-power-button');
    return DONE;
  },
  system_wakeup() {
    throw new QmpError('Unable to wake up: guest is not in suspended state');
  },
  async 'inject-nmi'(emulator) {
    await machineOf(emulator).command('nmi');
    return DONE;
  },
  async 'set-action'(emulator, { reboot, shutdown, panic, watchdog }) {
    await machineOf(emulator).command('set-actions', {
      ...(reboot && { reboot: reboot === 'reset' ? 'reset' : 'power-off' }),
      ...(shutdown && { powerOff: shutdown === 'pause' ? 'pause' : 'end' }),
      ...(panic && { panic: panicAction(panic) }),
      ...(watchdog && { watchdog: watchdogAction(watchdog) }),
    });
    return DONE;
  },
  async 'watchdog-set-action'(emulator, { action }) {
    await machineOf(emulator).command('set-actions', { watchdog: watchdogAction(action) });
    return DONE;
  },
  'rtc-reset-reinjection': () => DONE,
};
