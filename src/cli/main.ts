/** Where bin/vireo begins. */
import { constants } from 'node:os';
import { runProgram } from './program.ts';

/** What a shell reports for a program that SIGPIPE ended. */
const BROKEN_PIPE_CODE = 141;

// The terminal is given back by the listeners of 'exit'; a machine's threads end with the process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  process.on(signal, () => process.exit(128 + constants.signals[signal]));
}
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? BROKEN_PIPE_CODE : 1));
}
process.exitCode = await runProgram(process.argv.slice(2));
