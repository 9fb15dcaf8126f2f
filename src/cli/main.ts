/** Where bin/vireo begins. */
import { constants } from 'node:os';
import { threadsForMachine } from './machine-threads.ts';

/** What a shell reports for a program that SIGPIPE ended. */
const BROKEN_PIPE_CODE = 141;

// The terminal is given back by the listeners of 'exit'; a machine's threads end with the process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  process.on(signal, () => process.exit(128 + constants.signals[signal]));
}
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? BROKEN_PIPE_CODE : 1));
}
const args = process.argv.slice(2);
const threads = args[0] === 'run' || args[0] === 'snapshot' ? threadsForMachine() : undefined;
const { runProgram } = await import('./program.ts');
process.exitCode = await runProgram(args, threads);
