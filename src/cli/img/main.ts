/** Where bin/vireo-img begins. */
import { runImg } from './program.ts';

process.exitCode = await runImg(process.argv.slice(2));
