/**
 * Snapshots that earlier versions made go on here. When a device's state has got a field, its table says `added`
 * (base/state.ts); a new format gets a file of its own beside the others.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { restoreMachineOn } from './snapshot.ts';
import { inProcessThreads } from './testing/in-process-threads.ts';

const THREAD = new URL('./testing/tcg-thread.ts', import.meta.url).href;
/** Two CPUs, a virtio disk, a CD drive, a network card, a balloon, and a program that has answered "a" with "a" and "b". */
const GOLDEN = ['v1', 'v2'];

for (const name of GOLDEN) {
  test(`a snapshot of format ${name} goes on`, async () => {
    const snapshot = gunzipSync(readFileSync(new URL(`./testing/snapshot-${name}.gz`, import.meta.url)));
    await using machine = await restoreMachineOn(inProcessThreads, THREAD, [snapshot], {
      disks: [{ file: 'a' }, { file: 'b' }],
      networks: [{ kind: 'user' }],
    });
    assert.deepEqual(machine.notes, { note: 'golden' });
    assert.equal(machine.config.disks[1].media, 'cdrom');
    await machine.start();
    const [{ readable, writable }] = machine.serial;
    const [reader, writer] = [readable.getReader(), writable.getWriter()];
    for (const answer of ['c', 'd']) {
      await writer.write(Buffer.from('a'));
      assert.equal(Buffer.from((await reader.read()).value!).toString(), answer);
    }
  });
}
