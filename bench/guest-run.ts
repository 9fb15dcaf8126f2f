/** One run of one emulator: its process from start to end, and what the guest said when. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { UserError } from '../src/base/index.ts';
import { type GuestEvent, parseLine } from './console-lines.ts';

/** Called when a line arrives; the time is since the start of the process. */
export type OnEvent = (event: GuestEvent, atSeconds: number, pid: number) => void;

export interface RunOptions {
  readonly onEvent: OnEvent;
  readonly signal: AbortSignal;
}

/** A guest that says nothing for so long has failed. */
const SILENCE_LIMIT_MILLIS = 600_000;
/** Of what is told when a run fails. */
const LAST_LINES = 5;

/**
 * Runs a command to its end; returns its wall time in seconds.
 * @throws UserError when the process fails or falls silent
 */
export async function runGuest([program, ...args]: readonly string[], options: RunOptions): Promise<number> {
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], signal: options.signal });
  const ended = once(child, 'close');
  const lastLines: string[] = [];
  let silent = false;
  const silence = setTimeout(() => {
    silent = true;
    child.kill('SIGKILL');
  }, SILENCE_LIMIT_MILLIS);
  const onLine = (line: string) => {
    const at = seconds();
    silence.refresh();
    const event = parseLine(line);
    if (event !== undefined && child.pid !== undefined) options.onEvent(event, at, child.pid);
    else if (line.trim() !== '') lastLines.splice(0, lastLines.length, ...lastLines.slice(1 - LAST_LINES), line.trim());
  };
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', onLine);
  let endedSeconds = 0;
  child.on('exit', () => {
    endedSeconds = seconds();
  });
  try {
    const [code, signal] = await ended;
    if (code === 0) return endedSeconds;
    const how = silent ? `said nothing for ${SILENCE_LIMIT_MILLIS / 1000} s` : `ended with ${signal ?? `code ${code}`}`;
    throw new UserError(`${program} ${how}; its last lines: ${lastLines.join(' | ') || '(none)'}`);
  } finally {
    clearTimeout(silence);
  }
}
