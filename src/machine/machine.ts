/** The machine as its user sees it: a proxy for the thread that the machine lives in. */
import { InternalError, UserError } from '../base/index.ts';
import type { HostThread, ThreadHost } from '../contract/index.ts';
import type { MachineCommandName, MachineCommands, MachineEvent, RunState } from './commands.ts';
import type { AcceleratorName, MachineConfig, MachineOptions } from './config.ts';
import { checkOptions } from './config.ts';
import type { MachineExit } from './exit.ts';
import type { FromMachine, MachineMemory, ToMachine } from './protocol.ts';
import { SERIAL_PORTS } from './protocol.ts';
import type { SerialConsole, SerialStreams } from './serial-streams.ts';
import { serialStreams } from './serial-streams.ts';

/** One virtual machine. It ends once: a new start is a new machine. */
export interface Machine extends AsyncDisposable {
  /** COM1 to COM4. */
  readonly serial: readonly [SerialConsole, SerialConsole, SerialConsole, SerialConsole];
  /** The ports of its virtio console, in the order of the configuration. */
  readonly consolePorts: readonly SerialConsole[];
  /** Who executes the guest's code, and why it is that one where there was a choice, a line for people. */
  readonly accelerator: AcceleratorUsed;
  /** Lets the guest run. A second call changes nothing. */
  start(): Promise<void>;
  /** Stands still as `prelaunch` until `start`. */
  readonly state: RunState;
  /** Asks something of the machine; rejects with UserError when it cannot be, or the machine has ended. */
  command<Name extends MachineCommandName>(
    name: Name,
    ...argument: MachineCommands[Name][0] extends undefined ? [] : [MachineCommands[Name][0]]
  ): Promise<MachineCommands[Name][1]>;
  /** What it is made of. */
  readonly config: MachineConfig;
  /** Of a restored machine: what was noted when its snapshot was taken. */
  readonly notes: Readonly<Record<string, string>>;
  /** The guest's RAM, shared with the machine's thread. */
  readonly memory: MachineMemory;
  /** Calls `listener` for every event from now on; a machine has one listener. */
  onEvent(listener: (event: MachineEvent) => void): void;
  /** Ends the machine as pulling its plug would; resolves when it has ended, however it did. */
  stop(): Promise<void>;
  /** How the machine ended. Never rejects. */
  readonly exited: Promise<MachineExit>;
}

/** Events kept for a listener that comes late. */
const EARLY_EVENTS_MAX = 100;
export interface AcceleratorUsed {
  readonly name?: AcceleratorName;
  readonly note?: string;
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
  return createMachineFrom(threads, threadModule, checkOptions(options));
}

/** The same for a machine whose RAM and state come from elsewhere: in state `inmigrate`, without its disks. */
export async function createIncomingMachineOn(
  threads: ThreadHost,
  threadModule: string,
  options: MachineOptions,
): Promise<Machine> {
  const machine = await createMachineFrom(threads, threadModule, { ...checkOptions(options), isIncoming: true });
  await machine.command('stand', 'inmigrate');
  return machine;
}

/** The same from checked options. */
export async function createMachineFrom(
  threads: ThreadHost,
  threadModule: string,
  config: MachineConfig,
  notes: Machine['notes'] = {},
): Promise<Machine> {
  const thread = threads.startThread(threadModule);
  const post = (message: ToMachine) => thread.post(message);
  const portCount = SERIAL_PORTS + (config.console?.ports.length ?? 0);
  const serial = Array.from({ length: portCount }, (_, port) => serialStreams(port, post));
  const created = Promise.withResolvers<Created>();
  const exit = Promise.withResolvers<MachineExit>();
  const calls = commandCalls(post);
  const end = (how: MachineExit) => {
    for (const port of serial) port.end();
    calls.end();
    exit.resolve(how);
  };
  thread.onEnd((reason) => {
    created.reject(new Error(`the machine's thread died: ${reason}`));
    end({ reason: 'error', message: `the machine's thread died: ${reason.split('\n', 1)[0]}`, details: reason });
  });
  thread.connect((data) => receive(data as FromMachine, { serial, created, calls, end }));
  post({ kind: 'create', config });
  let made: Created;
  try {
    made = await created.promise;
  } catch (error) {
    await thread.terminate();
    throw error;
  }
  void exit.promise.then(() => thread.terminate());
  return machineProxy(thread, made, { serial, calls, end }, { config, notes, exited: exit.promise });
}

/** What the machine's thread says when the machine is there. */
type Created = Pick<Machine, 'memory' | 'accelerator'>;

interface Ends {
  readonly serial: readonly SerialStreams[];
  readonly calls: CommandCalls;
  readonly end: (how: MachineExit) => void;
}

type CommandCalls = ReturnType<typeof commandCalls>;

/** Commands under way, and what the machine tells by itself. */
function commandCalls(post: (message: ToMachine) => void) {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  const early: MachineEvent[] = [];
  let [nextId, ended]: [number, boolean] = [1, false];
  let state: RunState = 'prelaunch';
  let listener: ((event: MachineEvent) => void) | undefined;
  return {
    state: () => state,
    call(name: MachineCommandName, argument: unknown): Promise<unknown> {
      if (ended) return Promise.reject(new UserError('the machine has ended'));
      const id = nextId++;
      const call = Promise.withResolvers<unknown>();
      waiting.set(id, call);
      post({ kind: 'command', id, name, argument });
      return call.promise;
    },
    answered({ id, result, failure }: Extract<FromMachine, { kind: 'answer' }>) {
      const call = waiting.get(id);
      waiting.delete(id);
      if (failure === undefined) call?.resolve(result);
      else call?.reject(new UserError(failure));
    },
    happened(event: MachineEvent) {
      if (event.kind === 'state') state = event.state;
      if (listener !== undefined) listener(event);
      else if (early.length < EARLY_EVENTS_MAX) early.push(event);
    },
    listen(given: (event: MachineEvent) => void) {
      if (listener !== undefined) throw new InternalError('the machine has a listener already');
      listener = given;
      for (const event of early.splice(0)) given(event);
    },
    end() {
      ended = true;
      for (const call of waiting.values()) call.reject(new UserError('the machine has ended'));
      waiting.clear();
    },
  };
}

function receive(
  message: FromMachine,
  { serial, created, calls, end }: Ends & { readonly created: PromiseWithResolvers<Created> },
): void {
  switch (message.kind) {
    case 'created':
      created.resolve({ memory: message.memory, accelerator: { name: message.name, note: message.note } });
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
    case 'answer':
      calls.answered(message);
      return;
    case 'event':
      calls.happened(message.event);
      return;
    case 'exited':
      end(message.exit);
      return;
  }
}

function machineProxy(
  thread: HostThread,
  { memory, accelerator }: Created,
  { serial: streams, calls, end }: Ends,
  { config, notes, exited }: Pick<Machine, 'config' | 'notes' | 'exited'>,
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
  const [com1, com2, com3, com4, ...consolePorts] = streams.map(({ readable, writable }) => ({ readable, writable }));
  return {
    serial: [com1, com2, com3, com4],
    consolePorts,
    accelerator,
    async start() {
      if (started) return;
      started = true;
      post({ kind: 'start' });
    },
    get state() {
      return calls.state();
    },
    command: (name, ...argument) => calls.call(name, argument[0]) as Promise<never>,
    config,
    notes,
    memory,
    onEvent: (listener) => calls.listen(listener),
    stop,
    exited,
    [Symbol.asyncDispose]: stop,
  };
}
