/** Starts vireo-nbd and qemu-nbd in the background, as people do. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const VIREO_NBD = fileURLToPath(new URL('../../../../bin/vireo-nbd', import.meta.url));

export function isInstalled(program: string): boolean {
  return spawnSync(program, ['--version']).status === 0;
}

export interface Workshop {
  readonly folder: string;
  path(name: string): string;
  /** Runs a program in the folder and gives what it prints; its exit code must be 0. */
  run(program: string, ...args: string[]): string;
  /** Starts a server that goes on in the background; gives its process id. */
  serve(kind: 'ours' | 'theirs', ...args: string[]): number;
  /** Ends all servers and removes the folder. */
  close(): void;
}

let count = 0;

export function workshop(): Workshop {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
  const pidFiles: string[] = [];
  const run = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
    assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  return {
    folder,
    path: (name) => join(folder, name),
    run,
    serve(kind, ...args) {
      count += 1;
      const pidFile = join(folder, `pid-${count}`);
      pidFiles.push(pidFile);
      const [program, first] = kind === 'ours' ? [process.execPath, [VIREO_NBD]] : ['qemu-nbd', []];
      run(program, ...first, '--fork', `--pid-file=${pidFile}`, ...args);
      return Number(readFileSync(pidFile, 'utf8'));
    },
    close() {
      for (const file of pidFiles) {
        const pid = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
        // Not whoever has the number of one that was killed.
        if (pid > 0 && commandLineOf(pid).includes(folder)) end(pid);
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

export function end(pid: number, signal: NodeJS.Signals = 'SIGTERM'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** Settles once a process is gone. */
export async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
      // A child of nobody that waits for it stays as a zombie.
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return;
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
