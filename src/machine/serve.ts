/** The machine's side of its thread: takes messages, owns the machine, says how it ended. */
import { UserError } from '../base/index.ts';
import type { ThreadContext } from '../contract/index.ts';
import type { MachineCommands } from './commands.ts';
import type { MachineConfig } from './config.ts';
import { MachineControl } from './control.ts';
import type { MachineExit } from './exit.ts';
import { PanicWatch } from './panic.ts';
import type { AssembledMachine, CreateAccelerator, MachineBackends } from './parts.ts';
import type { FromMachine, ToMachine } from './protocol.ts';
import { SERIAL_PORTS } from './protocol.ts';
import { SerialPort } from './serial-port.ts';

/** Serves one machine over the thread's port. */
export function serveMachine(
  thread: ThreadContext,
  createAccelerator: CreateAccelerator,
  backends: MachineBackends,
): void {
  const post = (message: FromMachine) => thread.post(message);
  // Whoever only makes machines has no use for devices. They are loaded while it makes up its mind.
  const parts = Promise.all([import('./assemble.ts'), import('./run-loop.ts'), import('./run-threads.ts')]);
  const panic = new PanicWatch();
  const serial = Array.from({ length: SERIAL_PORTS }, (_, port) => new SerialPort(port, post));
  const control = new MachineControl(thread, (event) => post({ kind: 'event', event }));
  let stopRequested = false;
  let machine: AssembledMachine | undefined;
  let noReboot = false;

  const create = async (config: MachineConfig) => {
    try {
      noReboot = config.noReboot;
      for (const _ of config.console?.ports ?? []) serial.push(new SerialPort(serial.length, post));
      control.changeActions(config.actions);
      const [{ assemble }] = await parts;
      machine = await assemble(config, {
        thread,
        serial,
        panic,
        createAccelerator,
        backends,
        tell: (event) => control.tell(event),
      });
      const { buffer, ranges, memory } = machine.memory;
      post({ kind: 'created', memory: { buffer, ranges, memory }, ...machine.accelerator });
    } catch (error) {
      const forUser = error instanceof UserError;
      post({ kind: 'failed', forUser, message: forUser ? error.message : stackOf(error) });
    }
  };
  const run = async (): Promise<MachineExit> => {
    if (machine === undefined) return { reason: 'error', message: 'the machine was started before it was created' };
    try {
      const options = { noReboot, serial, panic, control, stopRequested: () => stopRequested };
      const [, { runMachine }, { runThreads }] = await parts;
      if (machine.vcpus) return await runThreads(machine, machine.vcpus, thread, options);
      return await runMachine(machine, thread, options);
    } catch (error) {
      return { reason: 'error', message: internalErrorText(error), details: stackOf(error) };
    } finally {
      machine.flush();
      for (const port of serial) port.flush();
      await machine.close();
    }
  };
  const answer = async (id: number, name: keyof MachineCommands, argument: unknown) => {
    try {
      if (machine === undefined) throw new UserError('the machine is not made yet');
      const result = await control.handle(machine, name, argument as never);
      post({ kind: 'answer', id, result });
    } catch (error) {
      const failure = error instanceof UserError ? error.message : internalErrorText(error);
      post({ kind: 'answer', id, failure });
    }
  };
  thread.connect((data) => {
    const message = data as ToMachine;
    switch (message.kind) {
      case 'create':
        void create(message.config);
        return;
      case 'start':
        void run().then((exit) => {
          const statistics = machine?.vcpu.statistics?.();
          post({ kind: 'exited', exit: statistics === undefined ? exit : { ...exit, statistics } });
        });
        return;
      case 'stop':
        stopRequested = true;
        return;
      case 'command':
        void answer(message.id, message.name, message.argument);
        return;
      case 'serial-input':
        if (message.port === 0) panic.forget();
        serial[message.port]?.offer(message.bytes);
        return;
      case 'serial-output-taken':
        serial[message.port]?.outputTaken(message.count);
        return;
    }
  });
}

function internalErrorText(error: unknown): string {
  return `the machine failed by a mistake of ours: ${String(error).replaceAll('\n', ' ')}`;
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
