/** Where bin/vireo-nbd begins. */
import { runNbd } from './program.ts';

process.exitCode = await runNbd(process.argv.slice(2));
