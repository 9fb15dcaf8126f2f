/** Which handlers of the interpreter run how often in which kernel. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../src/base/index.ts';
import { nodeThreads } from '../src/host/node/index.ts';
import { createMachineOn, type MachineOptions } from '../src/machine/index.ts';

/**
 * Runs a guest to its end; returns the table.
 * @param output a file for the table, in a folder of the caller's
 */
export async function profile(options: MachineOptions, output: string, signal: AbortSignal): Promise<string> {
  const url = new URL('profile-thread.ts', import.meta.url);
  url.searchParams.set('output', output);
  const machine = await createMachineOn(nodeThreads, url.href, options);
  const stop = () => void machine.stop();
  signal.addEventListener('abort', stop);
  const drained = machine.serial.map(async ({ readable }) => {
    for await (const _ of readable);
  });
  await machine.start();
  await Promise.all(drained);
  const exit = await machine.exited;
  signal.removeEventListener('abort', stop);
  if (exit.reason !== 'poweroff') throw new UserError(`the profiled guest did not power off: ${exit.message}`);
  return readFile(output, 'utf8');
}
