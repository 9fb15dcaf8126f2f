// Starts the vireo program under whichever Node runs this: in this process when
// it is new enough, else in the pinned Node. Plain JavaScript for Node 20.
import { existsSync, fstatSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { findNode, runOn, tooOldMessage, WASM_FLAGS } from './node.mjs';

const root = new URL('../', import.meta.url);

/**
 * @param {string[]} args The command line after the program's name.
 * @param {string} module The program's first module, from src/cli or dist/cli, without its ending.
 */
export async function launch(args, module = 'main') {
  const program = programPath(module);
  const node = findNode();
  if (node === undefined) {
    process.stderr.write(`vireo: ${tooOldMessage()}\n`);
    process.exitCode = 1;
  } else if (node === process.execPath) {
    process.argv = [process.execPath, program, ...args];
    for (const flag of WASM_FLAGS) setFlagsFromString(flag);
    await keepCompiledCode();
    await import(pathToFileURL(program).href);
  } else {
    const enter = fileURLToPath(new URL('enter.mjs', import.meta.url));
    await runOn(node, [enter, module, ...args], namedFiles(args));
  }
}

/** Open files of this process that a command line names, as in `fd=5` and `"fd":"5"`: another Node must inherit them. */
function namedFiles(args) {
  const named = args.flatMap((arg) => [...arg.matchAll(/\bfd"?[=:]"?(\d+)/g)].map(([, fd]) => Number(fd)));
  return [...new Set(named)].filter((fd) => {
    try {
      return fd > 2 && fstatSync(fd) !== undefined;
    } catch {
      return false;
    }
  });
}

/** Lets Node keep what it compiled for the next start, in the user's cache folder: most of a short run is compiling. */
async function keepCompiledCode() {
  try {
    const base = process.env.XDG_CACHE_HOME;
    const caches = base !== undefined && isAbsolute(base) ? base : join(homedir(), '.cache');
    const { enableCompileCache } = await import('node:module');
    enableCompileCache(join(caches, 'vireo', 'code'));
  } catch {
    // Without a home folder nothing is kept.
  }
}

/** The sources in a checkout, the built program in the published package. */
function programPath(module) {
  const source = new URL(`src/cli/${module}.ts`, root);
  return fileURLToPath(existsSync(source) ? source : new URL(`dist/cli/${module}.js`, root));
}
