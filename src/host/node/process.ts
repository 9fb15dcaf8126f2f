/** Runs other programs to their end. */
import { spawn } from 'node:child_process';

export interface ProgramResult {
  /** Exit code; 127 when there is no such program, 128 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly folder?: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** Runs `program`, found on the environment's PATH, without input, and collects what it prints. */
export function runProgram(
  program: string,
  args: readonly string[],
  { folder, environment }: ProgramOptions,
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    }
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') resolve({ code: 127, stdout: '', stderr: `${program}: not found` });
      else reject(error);
    });
    child.on('close', (code) => resolve({ ...output, code: code ?? 128 }));
  });
}
