// What launch.mjs starts in the pinned Node: the same program, now in a Node that is new enough.
import { launch } from './launch.mjs';

const [module, ...args] = process.argv.slice(2);
await launch(args, module);
