/** Where bin/vireo-system-x86_64 begins. */
import { runSystem } from './program.ts';

const code = await runSystem(process.argv.slice(2));
// Sockets and terminals that others hold must not keep the process; what was printed goes out first.
await Promise.all(
  [process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => stream.write('', () => resolve()))),
);
process.exit(code);
