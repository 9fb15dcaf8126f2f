/** Rounds with processes that say what guests say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Emulator, EmulatorName, Guest } from './emulators.ts';
import { measure } from './measure.ts';

const guest: Guest = { kernelPath: '', initrdPath: '', commandLine: '', memoryMebibytes: 0, cpu: '' };

/** A process that prints lines, each after a delay. */
function emulator(name: EmulatorName, lines: readonly (readonly [delayMillis: number, line: string])[]): Emulator {
  const script = `
    for (const [delay, line] of ${JSON.stringify(lines)}) {
      await new Promise((resolve) => setTimeout(resolve, delay));
      console.log(line);
    }`;
  return {
    name,
    architecture: 'amd64',
    title: name,
    command: () => [process.execPath, '--input-type=module', '-e', script],
  };
}

function run(emulators: readonly Emulator[], kernels: readonly string[], runs = 1) {
  const { signal } = new AbortController();
  const steps: string[] = [];
  const onProgress = (step: string) => steps.push(step);
  const guests = { amd64: { kernelNames: kernels, ...(kernels.length > 0 ? { kernels: guest } : { boot: guest }) } };
  return measure({ emulators, guests, runs, signal, onProgress }).then((result) => ({ ...result, steps }));
}

const good = (name: EmulatorName) =>
  emulator(name, [
    [0, 'bench begin sieve'],
    [50, 'bench end sieve 50000000 2a'],
    [0, 'bench filled'],
    [200, ''],
  ]);

test('emulators run by turns, and each run gives a value', async () => {
  const { rows, faults, doubts, steps } = await run([good('vireo'), good('qemu')], ['sieve'], 2);
  assert.deepEqual(rows.get('sieve'), { vireo: [0.05, 0.05], qemu: [0.05, 0.05] });
  assert.deepEqual({ faults, doubts }, { faults: [], doubts: [] });
  assert.deepEqual(
    steps.filter((step) => step.endsWith('sieve')),
    ['run 1 of 2, vireo: sieve', 'run 1 of 2, qemu: sieve', 'run 2 of 2, vireo: sieve', 'run 2 of 2, qemu: sieve'],
  );
});

test("a process's resident size over the guest's memory", { skip: process.platform !== 'linux' }, async () => {
  const { rows } = await run([good('vireo')], ['sieve']);
  const [mebibytes] = rows.get('over guest RAM')?.vireo ?? [];
  assert.ok(mebibytes > 10 && mebibytes < 1000, `${mebibytes} MiB`);
});

test('boot: to init, and to the end of the process', async () => {
  const { rows } = await run(
    [
      emulator('vireo', [
        [0, 'bench init'],
        [100, ''],
      ]),
    ],
    [],
  );
  const [init, whole] = ['to init', 'whole process'].map((name) => rows.get(name)!.vireo![0]);
  assert.ok(init > 0 && whole - init > 0.08, `${init} ${whole}`);
});

test('a different result is a fault and gives no time', async () => {
  const other = emulator('qemu', [
    [0, 'bench begin sieve'],
    [0, 'bench end sieve 1000 2b'],
  ]);
  const { rows, faults } = await run([good('vireo'), other], ['sieve']);
  assert.deepEqual(rows.get('sieve'), { vireo: [0.05] });
  assert.deepEqual(faults, ['qemu: sieve has the result 2b, which was 2a in the first run']);
});

test('kernels that fail or never come are faults', async () => {
  const { faults } = await run([emulator('vireo', [[0, 'bench failed awk 139']])], ['awk', 'gzip']);
  assert.deepEqual(faults, ['vireo: awk failed with exit code 139', 'vireo: the guest ended before gzip did']);
});

test("a guest's clock that is slow is told", async () => {
  const slow = emulator('vireo', [
    [0, 'bench begin sieve'],
    [300, 'bench end sieve 1000000 2a'],
  ]);
  const { doubts } = await run([slow], ['sieve']);
  assert.equal(doubts.length, 1);
  assert.match(
    doubts[0],
    /^vireo: the kernels of a run took 0\.001 s by the guest's clock and 0\.[34]\d+ s by the host's$/,
  );
});
