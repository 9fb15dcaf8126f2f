/** vireo-nbd --fork: the server goes on in a process of its own, and this one ends once it listens. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MODULE = import.meta.url.endsWith('.ts') ? './main.ts' : './main.js';

/** @returns the exit code of the process that was called */
export function startInBackground(argv: readonly string[], isVerbose: boolean): Promise<number> {
  const rest = argv.filter((word) => word !== '--fork');
  const child = fork(fileURLToPath(new URL(MODULE, import.meta.url)), rest, {
    detached: true,
    // What goes wrong until it listens is ours to tell; afterwards nobody's terminal or pipe is kept open.
    stdio: ['ignore', 'ignore', isVerbose ? 'inherit' : 'pipe', 'ipc'],
  });
  child.stderr?.pipe(process.stderr, { end: false });
  return new Promise((resolve) => {
    child.on('message', () => {
      child.disconnect();
      child.stderr?.destroy();
      child.unref();
      resolve(0);
    });
    child.on('exit', (code) => resolve(code ?? 1));
    child.on('error', (error) => {
      process.stderr.write(`vireo-nbd: cannot start in the background: ${error.message}\n`);
      resolve(1);
    });
  });
}

/** Tells who started this process that the server listens; nothing when nobody waits for it. */
export function tellStarter(): void {
  if (process.send === undefined) return;
  process.stderr.on('error', () => {}); // the pipe to who started it is closed now
  process.send('listening');
  process.disconnect?.();
}
