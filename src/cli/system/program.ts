/** The vireo-system-x86_64 program: qemu-system-x86_64's command line, monitors and exit codes. */
import { readFileSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import type { ThreadHost } from '../../contract/index.ts';
import { CPUS_MAX } from '../../machine/index.ts';
import {
  type Abilities,
  buildConfig,
  type CommandLine,
  helpText,
  optionHelp,
  parseCommandLine,
  QEMU_VERSION_TEXT,
  type SystemConfig,
} from '../../monitor/index.ts';
import { programName } from '../version.ts';
import { becomeDaemon, isDaemonChild } from './daemon.ts';
import { PROGRAM, reporter } from './report.ts';
import { runEmulator } from './run.ts';

/** What machines can have today. */
const ABILITIES: Abilities = { accelerators: ['tcg'], cpusMax: CPUS_MAX };

/**
 * Runs the program on a command line without its first two words; returns the exit code.
 * @param threads that its machine is to have; default: this computer's
 */
export async function runSystem(args: readonly string[], threads?: ThreadHost): Promise<number> {
  const early = reporter(false);
  try {
    const line = parseCommandLine(args, readConfigFile);
    const text = await answer(line);
    if (text !== undefined) {
      process.stdout.write(text);
      return 0;
    }
    const config = buildConfig(line, ABILITIES);
    if (config.daemonize && !isDaemonChild()) return await becomeDaemon(args, fdsOf(config));
    return await runEmulator(config, threads);
  } catch (error) {
    if (error instanceof UserError) early.error(error.message);
    else early.error(`a mistake of ours: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return 1;
  }
}

function readConfigFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`cannot read it: ${(error as Error).message}`);
  }
}

/** What is only to be said, and nothing to be run. */
async function answer({ options }: CommandLine): Promise<string | undefined> {
  if (options.some(({ name }) => name === 'h')) return helpText(PROGRAM);
  if (options.some(({ name }) => name === 'version')) {
    return `QEMU emulator version ${QEMU_VERSION_TEXT} (${await programName()})\n`;
  }
  return optionHelp(options, async () => (await import('../../target/index.ts')).modelNames);
}

/** Open files that the command line names: a process in the background must inherit them. */
function fdsOf({ chardevs, fdsets }: SystemConfig): number[] {
  const ofChardevs = chardevs.flatMap(({ backend }) => {
    if (backend.kind === 'fd') return [backend.fd];
    return backend.kind === 'socket' && backend.address.kind === 'fd' ? [backend.address.fd] : [];
  });
  return [...ofChardevs, ...fdsets.map(({ fd }) => fd)];
}
