/** One command in the default guest. Run it with `npm run build && node_modules/.bin/node examples/exec.ts`. */
import { exec } from 'vireo';

const { exitCode, stdout } = await exec('uname -sm; echo "$((6 * 7))"; exit 3');
process.stdout.write(stdout);
console.log(`exit code ${exitCode}`);
