/** Running and standing still: the life of the machine. */
import { bool, command, enumOf, event, field, optional, str, struct } from '../schema/types.ts';

export const runState = enumOf('RunState', 'What the machine is doing.', [
  'debug',
  'inmigrate',
  'internal-error',
  'io-error',
  'paused',
  'postmigrate',
  'prelaunch',
  'finish-migrate',
  'restore-vm',
  'running',
  'save-vm',
  'shutdown',
  'suspended',
  'watchdog',
  'guest-panicked',
  'colo',
]);

const shutdownCause = enumOf('ShutdownCause', 'Why a machine is reset or ends.', [
  'none',
  'host-error',
  'host-qmp-quit',
  'host-qmp-system-reset',
  'host-signal',
  'host-ui',
  'guest-shutdown',
  'guest-reset',
  'guest-panic',
  'subsystem-reset',
  'snapshot-load',
]);

const watchdogAction = enumOf('WatchdogAction', 'What happens when a watchdog expires.', [
  'reset',
  'shutdown',
  'poweroff',
  'pause',
  'debug',
  'none',
  'inject-nmi',
]);

export const runStateCommands = {
  'query-status': command({
    doc: 'Whether the guest runs, and if not, why.',
    returns: struct('StatusInfo', 'What the machine is doing.', {
      running: field(bool, 'guest code is executed'),
      singlestep: field(bool, 'one instruction at a time'),
      status: field(runState),
    }),
    since: '0.14',
    examples: [{ returns: { running: true, singlestep: false, status: 'running' } }],
  }),
  stop: command({ doc: 'Makes the guest and its time stand still.', since: '0.14', examples: [{ returns: {} }] }),
  cont: command({
    doc: 'Lets the guest go on, or begin when the machine was started with -S.',
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  system_reset: command({
    doc: 'Presses the reset button.',
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  system_powerdown: command({
    doc: 'Presses the power button for a short time: asks the guest to shut down.',
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  system_wakeup: command({
    doc: 'Wakes a guest that sleeps.',
    since: '1.1',
    examples: [],
  }),
  'inject-nmi': command({
    doc: "Sends the guest's first CPU a non-maskable interrupt.",
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  'set-action': command({
    doc: 'What to do when the guest does something to the machine as a whole.',
    args: {
      reboot: optional(enumOf('RebootAction', 'When the guest resets itself.', ['reset', 'shutdown'])),
      shutdown: optional(enumOf('ShutdownAction', 'When the guest powers itself off.', ['poweroff', 'pause'])),
      panic: optional(
        enumOf('PanicAction', 'When the guest reports a panic.', ['pause', 'shutdown', 'exit-failure', 'none']),
      ),
      watchdog: optional(watchdogAction),
    },
    since: '6.0',
    examples: [{ arguments: { reboot: 'shutdown', shutdown: 'pause' }, returns: {} }],
  }),
  'watchdog-set-action': command({
    doc: 'What happens when a watchdog expires.',
    args: { action: field(watchdogAction) },
    since: '2.11',
    examples: [{ arguments: { action: 'inject-nmi' }, returns: {} }],
  }),
  'rtc-reset-reinjection': command({
    doc: 'Forgets interrupts of the real-time clock that are still to be made up for; there are never any.',
    since: '2.1',
    examples: [{ returns: {} }],
  }),
} as const;

export const runStateEvents = {
  SHUTDOWN: event({
    doc: 'The machine ends, or stands still after the guest switched it off.',
    data: { guest: field(bool, 'the guest did it'), reason: field(shutdownCause) },
    since: '0.12',
  }),
  POWERDOWN: event({ doc: 'The power button was pressed.', since: '0.12' }),
  RESET: event({
    doc: 'The machine was reset.',
    data: { guest: field(bool, 'the guest did it'), reason: field(shutdownCause) },
    since: '0.12',
  }),
  STOP: event({ doc: 'The guest stands still from now on.', since: '0.12' }),
  RESUME: event({ doc: 'The guest runs from now on.', since: '0.12' }),
  WATCHDOG: event({
    doc: 'A watchdog expired.',
    data: { action: field(watchdogAction) },
    since: '0.13',
    rateLimitNanos: 1e9,
  }),
  GUEST_PANICKED: event({
    doc: 'The guest says that it panicked.',
    data: {
      action: field(enumOf('GuestPanicAction', 'What was done.', ['pause', 'poweroff', 'run'])),
      info: optional(struct('GuestPanicInformation', 'More about it.', { type: field(str) })),
    },
    since: '1.5',
  }),
  GUEST_CRASHLOADED: event({
    doc: 'The guest says that another kernel takes care of its panic.',
    data: { action: field(enumOf('GuestPanicAction', 'What was done.', ['pause', 'poweroff', 'run'])) },
    since: '5.0',
  }),
} as const;
