/** The machine as its user sees it: a proxy for the thread that the machine lives in. */
import { UserError } from '../base/index.ts';
import type { HostThread, ThreadHost } from '../contract/index.ts';
import type { MachineOptions } from './config.ts';
import { checkOptions } from './config.ts';
import type { MachineExit } from './exit.ts';
import type { FromMachine, ToMachine } from './protocol.ts';
import { SERIAL_PORTS } from './protocol.ts';
import type { SerialConsole, SerialStreams } from './serial-streams.ts';
import { serialStreams } from './serial-streams.ts';

/** One virtual machine. It ends once: a new start is a new machine. */
export interface Machine extends AsyncDisposable {
  /** COM1 to COM4. */
  readonly serial: readonly [SerialConsole, SerialConsole, SerialConsole, SerialConsole];
  /** Lets the guest run. A second call changes nothing. */
  start(): Promise<void>;
  /** Ends the machine as pulling its plug would; resolves when it has ended, however it did. */
  stop(): Promise<void>;
  /** How the machine ended. Never rejects. */
  readonly exited: Promise<MachineExit>;
}

/** How long a machine may take to answer `stop` before its thread is ended from outside. */
const STOP_TIMEOUT_MILLIS = 2000;

/**
 * Makes a machine: assembled, its kernel in RAM, not yet running.
 * @param threads the host's threads; the machine gets one of its own
 * @param threadModule URL of the module whose `serve` calls `serveMachine` there
 * @throws UserError when an option, the kernel or the initrd is wrong
 */
export async function createMachineOn(
  threads: ThreadHost,
  threadModule: string,
  options: MachineOptions,
): Promise<Machine> {
  const config = checkOptions(options);
  const thread = threads.startThread(threadModule);
  const post = (message: ToMachine) => thread.post(message);
  const serial = Array.from({ length: SERIAL_PORTS }, (_, port) => serialStreams(port, post));
  const created = Promise.withResolvers<void>();
  const exit = Promise.withResolvers<MachineExit>();
  const end = (how: MachineExit) => {
    for (const port of serial) port.end();
    exit.resolve(how);
  };
  thread.onEnd((reason) => {
    created.reject(new Error(`the machine's thread died: ${reason}`));
    end({ reason: 'error', message: `the machine's thread died: ${reason.split('\n', 1)[0]}`, details: reason });
  });
  thread.connect((data) => receive(data as FromMachine, serial, created, end));
  post({ kind: 'create', config });
  try {
    await created.promise;
  } catch (error) {
    await thread.terminate();
    throw error;
  }
  void exit.promise.then(() => thread.terminate());
  return machineProxy(thread, serial, exit.promise, end);
}

function receive(
  message: FromMachine,
  serial: readonly SerialStreams[],
  created: PromiseWithResolvers<void>,
  end: (how: MachineExit) => void,
): void {
  switch (message.kind) {
    case 'created':
      created.resolve();
      return;
    case 'failed':
      created.reject(message.forUser ? new UserError(message.message) : new Error(message.message));
      return;
    case 'serial-output':
      serial[message.port].output(message.bytes);
      return;
    case 'serial-input-taken':
      serial[message.port].inputTaken(message.count);
      return;
    case 'exited':
      end(message.exit);
      return;
  }
}

function machineProxy(
  thread: HostThread,
  streams: readonly SerialStreams[],
  exited: Promise<MachineExit>,
  end: (how: MachineExit) => void,
): Machine {
  const post = (message: ToMachine) => thread.post(message);
  const stopped: MachineExit = { reason: 'stopped', message: 'the machine was stopped' };
  let started = false;
  const stop = async () => {
    if (!started) end(stopped);
    post({ kind: 'stop' });
    const timeout = setTimeout(() => end(stopped), STOP_TIMEOUT_MILLIS);
    await exited;
    clearTimeout(timeout);
    await thread.terminate();
  };
  const [com1, com2, com3, com4] = streams.map(({ readable, writable }) => ({ readable, writable }));
  return {
    serial: [com1, com2, com3, com4],
    async start() {
      if (started) return;
      started = true;
      post({ kind: 'start' });
    },
    stop,
    exited,
    [Symbol.asyncDispose]: stop,
  };
}
