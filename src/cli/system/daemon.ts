/** -daemonize: the emulator goes on in a process of its own, once everything is open. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { reporter } from './report.ts';

const MARK = 'VIREO_SYSTEM_DAEMON';
const READY = 'ready';

export function isDaemonChild(): boolean {
  return process.env[MARK] !== undefined && process.send !== undefined;
}

/** Tells the process that started this one that it may end. */
export function daemonIsReady(): void {
  // Nobody reads what is said from now on.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  process.send?.(READY, () => process.disconnect?.());
}

/**
 * Starts the same program in the background and waits until it is ready or has failed.
 * @param fds open files of this process that it needs under the same numbers
 * @returns the exit code
 */
export function becomeDaemon(args: readonly string[], fds: readonly number[]): Promise<number> {
  const main = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url));
  const stdio: ('ignore' | 'pipe' | 'ipc' | 'inherit' | number)[] = ['ignore', 'ignore', 'pipe'];
  const last = Math.max(2, ...fds);
  for (let fd = 3; fd <= last; fd += 1) stdio.push(fds.includes(fd) ? fd : 'ignore');
  stdio.push('ipc');
  const child = spawn(process.execPath, [...process.execArgv, main, ...args], {
    detached: true,
    stdio,
    env: { ...process.env, [MARK]: '1' },
  });
  child.stderr?.pipe(process.stderr, { end: false });
  return new Promise((resolve) => {
    child.on('message', (message) => {
      if (message !== READY) return;
      child.stderr?.unpipe();
      child.stderr?.destroy();
      child.unref();
      resolve(0);
    });
    child.on('error', (error) => {
      reporter(false).error(`cannot start the process in the background: ${error.message}`);
      resolve(1);
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
}
