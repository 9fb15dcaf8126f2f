/** Programs and threads that end while their guests are in any state: nothing hangs, and no vCPU goes on. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { LEFT_STATES } from './testing/left-guest.ts';
import { kvmMissing } from './testing/tiny-guest.ts';

const skip = kvmMissing;
const PROGRAM = new URL('./testing/left-guest.ts', import.meta.url);
const ROUNDS = Number(process.env.VIREO_KVM_ENDS ?? 1);

/** The vCPUs' threads of this process: `S` sleeps. */
function vcpuThreadStates(): string[] {
  return readdirSync('/proc/self/task').flatMap((task) => {
    const [, name, state] = /\((.*)\) (\w)/.exec(readFileSync(`/proc/self/task/${task}/stat`, 'latin1')) ?? [];
    return name?.startsWith('vireo CPU') ? [state] : [];
  });
}

for (const state of LEFT_STATES) {
  test(`a process ends at once while its guest is ${state}`, { skip }, async () => {
    const child = spawn(process.execPath, ['--no-warnings', fileURLToPath(PROGRAM), state], { stdio: 'inherit' });
    assert.deepEqual(await once(child, 'exit'), [7, null]);
  });
}

test('a thread is terminated with its guest in any state: its vCPUs come out before the memory goes', {
  skip,
}, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    for (const state of LEFT_STATES) {
      const worker = new Worker(PROGRAM, { workerData: state });
      await once(worker, 'message');
      await worker.terminate();
    }
  }
  // They look at their turn for some microseconds before they sleep; one in a busy guest would never.
  while (vcpuThreadStates().some((state) => state !== 'S')) await delay(1);
  assert.equal(vcpuThreadStates().length, ROUNDS * LEFT_STATES.length * 3);
});
