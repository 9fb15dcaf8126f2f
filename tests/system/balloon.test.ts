/** The memory balloon by Linux's own driver: what it says, what it gives up, and that the host has it back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { Machine } from '../../src/machine/index.ts';
import { runInGuest, tryDefaultGuest } from './guest.ts';

const MIB = 2 ** 20;
const MEMORY_MIB = 512;
/** Written by the guest, then free; how much of it must come back. */
const [WRITTEN_MIB, RETURNED_MIB] = [120, 80];
const [TARGET_MIB, OOM_TARGET_MIB] = [256, 150];
const LONG_TEXT = 2 ** 26;

const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

const SCRIPT = `
  exec 6<>/dev/hvc0; stty -F /dev/hvc0 raw -echo
  next() { echo "$1" >&6; read -r _ <&6; }
  mkdir /m; mount -t tmpfs -o size=${WRITTEN_MIB}m tmpfs /m
  dd if=/dev/zero of=/m/file bs=1M count=${WRITTEN_MIB} 2>/dev/null
  next written
  umount /m
  next freed
  next inflate
  awk '/^MemTotal/ { total = $2 } /^MemFree/ { print ((total - $2) / 1024 > ${MEMORY_MIB - TARGET_MIB}) }' /proc/meminfo
  next oom
  # More than there is without the balloon's pages.
  awk 'BEGIN { text = "x"; while (length(text) < ${LONG_TEXT}) text = text text; print length(text) }'
  next end
  dmesg | grep -E 'BUG:|Oops|Call Trace|Out of memory'`;

/** Waits for what comes some time after it was asked for. */
async function until<T>(ask: () => Promise<T>, isSo: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await ask();
    if (isSo(value)) return value;
    await setTimeout(100);
  }
}

const rssMib = () => process.memoryUsage.rss() / MIB;

async function conduct(machine: Machine): Promise<Record<string, number>> {
  const [{ readable, writable }] = machine.consolePorts;
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  let text = '';
  const step = async (name: string) => {
    while (!text.includes(`${name}\n`)) {
      const { value } = await reader.read();
      if (value === undefined) throw new Error(`the guest ended before ${name}`);
      text += Buffer.from(value).toString();
    }
  };
  const goOn = () => writer.write(new TextEncoder().encode('go on\n'));
  const balloon = () => machine.command('balloon');
  const inflateTo = async (mebibytes: number) => {
    await machine.command('set-balloon', { bytes: mebibytes * MIB });
    return until(balloon, ({ actualBytes }) => actualBytes <= mebibytes * MIB);
  };
  const figures: Record<string, number> = {};

  await step('written');
  figures.written = rssMib();
  await goOn();
  await step('freed');
  // Reported come also pages that were never used; what counts is what this process no longer has.
  const returned = async () => figures.written - rssMib();
  figures.returned = await until(returned, (mebibytes) => mebibytes >= RETURNED_MIB);
  figures.reported = (await balloon()).reportedBytes / MIB;
  await machine.command('refresh-balloon-statistics');
  const { statistics } = await until(balloon, ({ statistics }) => statistics.totalMemory !== undefined);
  figures.total = statistics.totalMemory / MIB;
  await goOn();
  await step('inflate');
  await inflateTo(TARGET_MIB);
  await goOn();
  await step('oom');
  await inflateTo(OOM_TARGET_MIB);
  await goOn();
  await step('end');
  figures.afterOom = (await balloon()).actualBytes / MIB;
  await goOn();
  return figures;
}

test('statistics, free page reporting, inflating, and giving way when memory runs out', { skip }, async (context) => {
  let conducted: Promise<Record<string, number>> | undefined;
  const { stdout, stderr } = await runInGuest(SCRIPT, {
    memoryBytes: MEMORY_MIB * MIB,
    machine: { console: { ports: [{ isConsole: true }] }, balloon: { freePageHints: true, freePageReporting: true } },
    onMachine(machine) {
      conducted = conduct(machine);
    },
  });
  assert.equal(stdout, `1\n${LONG_TEXT}\n`, stderr);
  const figures = await conducted!;
  context.diagnostic(JSON.stringify(figures));
  const { reported, total, afterOom } = figures;
  assert.ok(reported >= RETURNED_MIB, `${reported} MiB reported`);
  assert.ok(total > MEMORY_MIB * 0.8 && total < MEMORY_MIB, `a total of ${total} MiB`);
  assert.ok(afterOom > OOM_TARGET_MIB, `${afterOom} MiB after memory ran out`);
});
