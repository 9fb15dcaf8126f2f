// `npm start`: all the set-up, then a shell in the default guest. Plain JavaScript for Node 20.
import { launch } from '../bin/launch.mjs';
import { setUp } from './setup.mjs';

setUp();
await launch(['run', ...process.argv.slice(2)]);
