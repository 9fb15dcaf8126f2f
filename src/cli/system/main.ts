/** Where bin/vireo-system-x86_64 begins. */
import { threadsForMachine } from '../machine-threads.ts';

/** Words of command lines that make no machine in this process. */
const WITHOUT_MACHINE = ['none', '-daemonize', '-h', '-help', '--help', '-version', '--version', 'help', '?'];

const args = process.argv.slice(2);
const threads = args.some((word) => WITHOUT_MACHINE.includes(word)) ? undefined : threadsForMachine();
const { runSystem } = await import('./program.ts');
const code = await runSystem(args, threads);
// Sockets and terminals that others hold must not keep the process; what was printed goes out first.
await Promise.all(
  [process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => stream.write('', () => resolve()))),
);
process.exit(code);
