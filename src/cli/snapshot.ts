/** `vireo snapshot`: boots a machine to where it waits for somebody, and keeps it in a file. */
import { UserError } from '../base/index.ts';
import type { ThreadHost } from '../contract/index.ts';
import { READY_TEXT } from '../host/node/machine.ts';
import { type Machine, saveMachine } from '../machine/index.ts';
import { createMachine } from './create-machine.ts';
import { describeOptions, parseOptions, UsageError } from './options.ts';
import { bootOptions, checkCpu, devicesOf, memoryOf, RUN_OPTIONS } from './run.ts';
import { LAST_LINE, writeSnapshot } from './snapshot-file.ts';

const { exec: _exec, 'from-snapshot': _fromSnapshot, share: _share, help, ...MACHINE_OPTIONS } = RUN_OPTIONS;
const OPTIONS = {
  output: { value: 'FILE', short: 'o', help: 'where the snapshot goes' },
  wait: { value: 'TEXT', help: 'take it when the serial console has shown this (default guest: its prompt)' },
  ...MACHINE_OPTIONS,
  help,
} as const;

export const SNAPSHOT_SUMMARY = 'boot a machine and keep it in a file, for vireo run --from-snapshot';

const HELP = `Usage: vireo snapshot -o FILE [options]

Boots a machine as vireo run does, waits until its console shows a text, and
writes its memory and state to a file. Disks are not in it: leave them as they
are, and give them again with vireo run --from-snapshot.

${describeOptions(OPTIONS)}`;

/** The prompt of the default guest's shell, and what goes before it. */
const PROMPT = '# ';
const CONSOLE_KEPT = 4096;

/** @returns the exit code */
export async function snapshotCommand(args: readonly string[], threads?: ThreadHost): Promise<number> {
  const options = parseOptions(OPTIONS, args);
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { output, wait } = options;
  if (output === undefined) throw new UsageError('a file is missing: -o FILE');
  const isDefaultGuest = options.kernel === undefined && options.initrd === undefined;
  if (wait === undefined && !isDefaultGuest)
    throw new UsageError('--wait TEXT must say when a guest of your own is ready');
  const memoryBytes = memoryOf(options.memory);
  if (options.cpu !== undefined) await checkCpu(options.cpu);
  const devices = await devicesOf(options);
  const boot = await bootOptions(options, memoryBytes, devices, ['TERM=vt220']);
  await using machine = await createMachine({ memoryBytes, cpu: options.cpu, boot, ...devices }, threads);
  const lastLine = await untilConsoleShows(machine, wait === undefined ? [READY_TEXT, PROMPT] : [wait]);
  await writeSnapshot(output, saveMachine(machine, { [LAST_LINE]: lastLine }));
  return 0;
}

/** Starts the machine and waits until the texts have come one after the other; returns the console's last line. */
async function untilConsoleShows(machine: Machine, texts: readonly string[]): Promise<string> {
  await machine.start();
  const reader = machine.serial[0].readable.getReader();
  let [shown, from, next] = ['', 0, 0];
  while (next < texts.length) {
    const { value, done } = await reader.read();
    if (done)
      throw new UserError(
        `the guest ended before its console showed "${texts[next]}": ${(await machine.exited).message}`,
      );
    shown += Buffer.from(value).toString('latin1');
    for (let at = 0; next < texts.length && (at = shown.indexOf(texts[next], from)) >= 0; next++) {
      from = at + texts[next].length;
    }
    const dropped = Math.max(0, Math.min(from, shown.length - CONSOLE_KEPT));
    shown = shown.slice(dropped);
    from -= dropped;
  }
  reader.releaseLock();
  return shown.slice(shown.lastIndexOf('\n') + 1);
}
