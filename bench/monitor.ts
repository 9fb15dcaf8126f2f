/**
 * What QMP costs: the same guest counts in its shell, alone and while a client
 * sends 1,000 commands a second; then as many commands as go through. QEMU's
 * translator in the same run. Beside the guest's clock, which the host's other
 * work disturbs too, the CPU time of the thread that runs the guest.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectQmp, type QmpClient } from '../src/cli/system/testing/emulator.ts';
import { defaultGuest } from '../src/host/node/index.ts';

const COMMANDS_A_SECOND = 1000;
const BATCH_MILLIS = 10;
const BURST = 5000;
const PROMPT = '~ # ';
const MAIN = fileURLToPath(new URL('../src/cli/system/main.ts', import.meta.url));
/** Seconds of the guest's own clock for this many steps of its shell. */
const COUNT =
  'a=$(cut -d" " -f1 /proc/uptime); i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; b=$(cut -d" " -f1 /proc/uptime); echo took $a $b.\n';

interface Guest {
  readonly processId: number;
  /** Types a line and returns what came until the next prompt. */
  run(line: string): Promise<string>;
}

interface Count {
  /** By the guest's clock. */
  readonly seconds: number;
  /** Of the thread that runs the guest. */
  readonly cpuSeconds: number;
}

interface Result {
  readonly alone: Count;
  readonly busy: Count;
  readonly answered: number;
  readonly burstPerSecond: number;
}

async function measure(program: readonly string[], folder: string, boot: readonly string[]): Promise<Result> {
  const socket = join(folder, 'qmp');
  await rm(socket, { force: true });
  const [file, ...first] = program;
  const machine = ['-m', '256', '-nodefaults', '-display', 'none', '-accel', 'tcg', '-serial', 'stdio', ...boot];
  const child = spawn(file, [...first, ...machine, '-qmp', `unix:${socket},server=on,wait=off`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const until = reader(child);
    using qmp = await connectQmp(socket);
    await until(PROMPT);
    const guest: Guest = {
      processId: child.pid!,
      run(line) {
        child.stdin!.write(line);
        return until(PROMPT);
      },
    };
    await counted(guest); // warm
    const alone = await counted(guest);
    const load = startLoad(qmp);
    const busy = await counted(guest);
    const answered = load.stop();
    return { alone, busy, answered, burstPerSecond: await burst(qmp) };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Reads until a text comes, from where it last stopped. */
function reader(child: ChildProcess): (text: string) => Promise<string> {
  let [output, seen] = ['', 0];
  let onData = () => {};
  child.stdout!.on('data', (bytes: Buffer) => {
    output += bytes.toString('latin1');
    onData();
  });
  return async (text) => {
    for (;;) {
      const at = output.indexOf(text, seen);
      if (at >= 0) {
        const found = output.slice(seen, at);
        seen = at + text.length;
        return found;
      }
      await new Promise<void>((resolve) => (onData = resolve));
    }
  };
}

async function counted(guest: Guest): Promise<Count> {
  const before = threadSeconds(guest.processId);
  const [, from, to] = /took ([\d.]+) ([\d.]+)\./.exec(await guest.run(COUNT)) ?? [];
  const after = threadSeconds(guest.processId);
  const used = [...after].map(([thread, seconds]) => seconds - (before.get(thread) ?? 0));
  return { seconds: Number(to) - Number(from), cpuSeconds: Math.max(...used) };
}

/** CPU time of each thread. */
function threadSeconds(processId: number): Map<string, number> {
  const folder = `/proc/${processId}/task`;
  return new Map(
    readdirSync(folder).map((thread) => {
      const [nanos] = readFileSync(join(folder, thread, 'schedstat'), 'latin1').split(' ');
      return [thread, Number(nanos) / 1e9];
    }),
  );
}

/** Sends commands at their pace; `stop` tells how many a second were answered. */
function startLoad({ socket, messages }: QmpClient) {
  const batch = '{"execute":"query-status"}'.repeat((COMMANDS_A_SECOND * BATCH_MILLIS) / 1000);
  const [start, before] = [performance.now(), messages.length];
  let sent = 0;
  const timer = setInterval(() => {
    // Late timers are made up for.
    while (sent * BATCH_MILLIS < performance.now() - start) {
      socket.write(batch);
      sent += 1;
    }
  }, BATCH_MILLIS);
  return {
    stop() {
      clearInterval(timer);
      return ((messages.length - before) * 1000) / (performance.now() - start);
    },
  };
}

async function burst(qmp: QmpClient): Promise<number> {
  const start = performance.now();
  qmp.socket.write('{"execute":"query-status"}'.repeat(BURST - 1));
  await qmp.call('query-status');
  return (BURST * 1000) / (performance.now() - start);
}

function print(name: string, { alone, busy, answered, burstPerSecond }: Result): void {
  const more = (field: keyof Count) => {
    const percent = (busy[field] / alone[field] - 1) * 100;
    return `${alone[field].toFixed(2)} → ${busy[field].toFixed(2)} s (${percent.toFixed(1)} % more)`;
  };
  process.stdout.write(
    `${name}: with ${answered.toFixed(0)} commands a second the guest's clock ${more('seconds')}, its thread's CPU time ${more('cpuSeconds')}; at most ${burstPerSecond.toFixed(0)} commands a second\n`,
  );
}

const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
try {
  const { kernel, initramfs, commandLine } = await defaultGuest();
  await writeFile(join(folder, 'kernel'), kernel);
  await writeFile(join(folder, 'initrd'), initramfs);
  const boot = ['-kernel', join(folder, 'kernel'), '-initrd', join(folder, 'initrd'), '-append', commandLine];
  const ours = await measure([process.execPath, MAIN], folder, boot);
  print('Vireo', ours);
  if (spawnSync('qemu-system-x86_64', ['--version']).status === 0) {
    const theirs = await measure(['qemu-system-x86_64'], folder, boot);
    print('QEMU ', theirs);
    const cost = ({ alone, busy }: Result) => busy.cpuSeconds / alone.cpuSeconds;
    process.stdout.write(
      `disturbance in CPU time, QEMU / Vireo: ${(cost(theirs) / cost(ours)).toFixed(2)}; throughput, Vireo / QEMU: ${(ours.burstPerSecond / theirs.burstPerSecond).toFixed(2)}\n`,
    );
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exit();
