/** What is done when the guest does something to the machine as a whole. */
import type { MachineActions } from '../../machine/index.ts';
import { forOption } from './command-line.ts';
import type { Given } from './given.ts';
import { ParamReader, type Params } from './opts.ts';

export function readActions(given: Given): Partial<MachineActions> {
  const actions = given.merged('action', (params) => {
    return {
      reboot: params.oneOf('reboot', ['reset', 'shutdown']),
      shutdown: params.oneOf('shutdown', ['poweroff', 'pause']),
      panic: params.oneOf('panic', PANIC_ACTIONS),
      watchdog: params.oneOf('watchdog', WATCHDOG_ACTIONS),
    };
  });
  const watchdog = given.has('watchdog-action')
    ? forOption(given.all('watchdog-action')[0], () => {
        const params: Params = [['action', given.value('watchdog-action')!]];
        return new ParamReader(params).oneOf('action', WATCHDOG_ACTIONS);
      })
    : undefined;
  const pauses = given.has('no-shutdown') || actions.shutdown === 'pause';
  return {
    powerOff: pauses ? 'pause' : 'end',
    reboot: actions.reboot === 'shutdown' ? 'power-off' : 'reset',
    tripleFault: 'reset',
    deadGuest: 'ignore',
    panic: panicAction(actions.panic ?? 'shutdown'),
    watchdog: watchdogAction(watchdog ?? actions.watchdog ?? 'reset'),
  };
}

/** By QEMU's names. */
export const PANIC_ACTIONS = ['pause', 'shutdown', 'exit-failure', 'none'] as const;
export const WATCHDOG_ACTIONS = ['reset', 'shutdown', 'poweroff', 'pause', 'debug', 'none', 'inject-nmi'] as const;

export function panicAction(name: (typeof PANIC_ACTIONS)[number]): MachineActions['panic'] {
  return ({ shutdown: 'end', 'exit-failure': 'fail', pause: 'pause', none: 'none' } as const)[name];
}

export function watchdogAction(name: (typeof WATCHDOG_ACTIONS)[number]): MachineActions['watchdog'] {
  return name === 'poweroff' ? 'power-off' : name === 'inject-nmi' ? 'nmi' : name;
}
