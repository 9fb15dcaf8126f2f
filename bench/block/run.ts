/** Runs a program to its end: how long it took, and the most memory that it held. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Outcome {
  readonly seconds: number;
  /** Peak of the resident set; undefined where there is no /proc. */
  readonly peakBytes?: number;
  readonly stdout: string;
}

/** How often the peak is looked at; Linux keeps it, so only growth in a program's last moments is missed. */
const SAMPLE_MILLIS = 5;

/** @throws Error with the program's complaint when it does not exit with one of `codes` */
export async function run(command: readonly string[], cwd: string, codes: readonly number[] = [0]): Promise<Outcome> {
  const [program, ...args] = command;
  const start = performance.now();
  const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  let peakBytes = 0;
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, peakOf(child.pid));
  }, SAMPLE_MILLIS);
  try {
    const { code, millis } = await new Promise<{ code: number | null; millis: number }>((resolve, reject) => {
      child.on('error', reject);
      let millis = 0;
      child.on('exit', () => {
        millis = performance.now() - start;
      });
      child.on('close', (code) => resolve({ code, millis }));
    });
    if (code === null || !codes.includes(code)) throw new Error(`${command.join(' ')}: ${texts.stderr.trim()}`);
    return { seconds: millis / 1000, stdout: texts.stdout, ...(peakBytes === 0 ? {} : { peakBytes }) };
  } finally {
    clearInterval(timer);
  }
}

/** The peak of a process's resident set so far, in bytes; 0 where it cannot be known. */
export function peakOf(pid: number | undefined): number {
  try {
    const [, kib = '0'] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(kib) * 1024;
  } catch {
    return 0;
  }
}
