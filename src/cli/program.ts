/** The vireo program: finds the command and says what went wrong in one line. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../base/index.ts';
import type { ThreadHost } from '../contract/index.ts';
import { suggestion, UsageError } from './options.ts';
import { RUN_SUMMARY, runCommand } from './run.ts';
import { SNAPSHOT_SUMMARY, snapshotCommand } from './snapshot.ts';

interface Command {
  readonly summary: string;
  /** @returns the exit code */
  readonly run: (args: readonly string[], threads?: ThreadHost) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  run: { summary: RUN_SUMMARY, run: runCommand },
  snapshot: { summary: SNAPSHOT_SUMMARY, run: snapshotCommand },
};

const HELP = `Usage: vireo COMMAND [options]

Commands:
${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(8)}  ${summary}\n`)
  .join('')}
vireo COMMAND -h tells a command's options; vireo --version tells the version.
`;

/**
 * Runs the program on a command line without its first two words; returns the exit code.
 * @param threads that its machine is to have; default: this computer's
 */
export async function runProgram(args: readonly string[], threads?: ThreadHost): Promise<number> {
  try {
    return await dispatch(args, threads);
  } catch (error) {
    const isOurs = !(error instanceof UserError);
    process.stderr.write(isOurs ? `vireo: a mistake of ours: ${stackOf(error)}\n` : `vireo: ${error.message}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

async function dispatch([name, ...rest]: readonly string[], threads?: ThreadHost): Promise<number> {
  if (name === undefined) throw new UsageError('a command is missing; vireo -h lists them');
  if (name === '-h' || name === '--help' || name === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  if (name === '--version') {
    process.stdout.write(`vireo ${await version()}\n`);
    return 0;
  }
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name].run(rest, threads);
  const what = name.startsWith('-') ? 'option' : 'command';
  const near = suggestion(name, what === 'command' ? Object.keys(COMMANDS) : ['--help', '--version']);
  throw new UsageError(`unknown ${what} ${name}${near}`);
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
