/** savevm, loadvm and migration of one booted guest, by the command line and monitor that QEMU and Vireo have in common. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { UserError } from '../src/base/index.ts';
import { connectQmp, type QmpClient } from '../src/cli/system/testing/emulator.ts';
import { READY_TEXT } from '../src/host/node/index.ts';

export interface EmulatorRun {
  /** Seconds until savevm and loadvm are done, of a guest that runs. */
  readonly savevm: number;
  readonly loadvm: number;
  /** Milliseconds for which a guest at its prompt stands still when it is moved to another process. */
  readonly downtime: number;
  /** MiB of guest memory that are moved a second, pages of zeros among them. */
  readonly moved: number;
}

export interface Emulator {
  readonly program: string;
  readonly args: readonly string[];
}

interface Side {
  readonly child: ChildProcess;
  readonly qmp: QmpClient;
}

async function start(
  folder: string,
  name: string,
  { program, args }: Emulator,
  ...more: readonly string[]
): Promise<Side> {
  const line = [...args, ...more, '-qmp', `unix:qmp-${name},server=on,wait=off`];
  const child = spawn(program, line, { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
  return { child, qmp: await connectQmp(join(folder, `qmp-${name}`)) };
}

async function end({ child, qmp }: Side): Promise<void> {
  qmp[Symbol.dispose]();
  if (child.exitCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function untilPrompt(path: string): Promise<void> {
  const socket = createConnection(path);
  let text = '';
  for await (const bytes of socket) {
    text += String(bytes);
    const ready = text.indexOf(READY_TEXT);
    if (ready >= 0 && text.includes('# ', ready)) return;
  }
  throw new UserError(`the guest ended before its prompt: ${text.slice(-300)}`);
}

async function monitor({ qmp }: Side, line: string): Promise<number> {
  const begin = performance.now();
  const answer: string = await qmp.call('human-monitor-command', { 'command-line': line });
  if (answer !== '') throw new UserError(`${line}: ${answer}`);
  return (performance.now() - begin) / 1000;
}

export async function measureEmulator(folder: string, tag: string, emulator: Emulator): Promise<EmulatorRun> {
  const serial = (name: string) => ['-chardev', `socket,id=s,path=${name},server=on,wait=off`, '-serial', 'chardev:s'];
  const source = await start(folder, `${tag}1`, emulator, ...serial(`serial-${tag}1`));
  try {
    await untilPrompt(join(folder, `serial-${tag}1`));
    const savevm = await monitor(source, 'savevm bench');
    const loadvm = await monitor(source, 'loadvm bench');
    const target = await start(
      folder,
      `${tag}2`,
      emulator,
      ...serial(`serial-${tag}2`),
      '-incoming',
      `unix:way-${tag}`,
    );
    try {
      await source.qmp.call('migrate-set-parameters', { 'max-bandwidth': 100 * 2 ** 30 });
      await source.qmp.call('migrate', { uri: `unix:way-${tag}` });
      let info = await source.qmp.call('query-migrate');
      while (!['completed', 'failed'].includes(info.status)) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        info = await source.qmp.call('query-migrate');
      }
      if (info.status === 'failed') throw new UserError(`the migration failed: ${info['error-desc']}`);
      const moved = info.ram.total / 2 ** 20 / (info['total-time'] / 1000);
      return { savevm, loadvm, downtime: info.downtime, moved };
    } finally {
      await end(target);
    }
  } finally {
    await end(source);
  }
}
