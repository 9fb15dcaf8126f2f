/** Machines that move from one thread to another while their guest writes memory all the time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../base/index.ts';
import { randomFrom } from '../contract/testing/random.ts';
import { nodeThreads } from '../host/node/index.ts';
import {
  DEFAULT_PARAMETERS,
  MigrationCancelled,
  type MigrationParameters,
  type MigrationProgress,
  OutgoingMigration,
} from '../migration/index.ts';
import type { MachineOptions } from './config.ts';
import { createIncomingMachineOn, createMachineOn, type Machine } from './machine.ts';
import { IncomingMachine, migratedMachine } from './migrate.ts';
import { assertUnbroken, MEMORY_CHECKER } from './testing/memory-checker.ts';

const THREAD = new URL('./testing/tcg-thread.ts', import.meta.url).href;
const OPTIONS: MachineOptions = {
  memoryBytes: 16 * 1024 * 1024,
  accel: ['tcg'],
  boot: { kernel: MEMORY_CHECKER },
  disks: [{ file: 'a' }],
};

const clock = {
  nowMillis: () => performance.now(),
  sleep: (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis)),
};

/** What a machine prints, as it comes. */
function printed(machine: Machine) {
  const heard = { text: '', wake: () => {} };
  void (async () => {
    for await (const bytes of machine.serial[0].readable) {
      heard.text += Buffer.from(bytes).toString('latin1');
      heard.wake();
    }
  })();
  return {
    get text() {
      return heard.text;
    },
    /** Resolves when it has printed this much more. */
    async more(count: number) {
      const wanted = heard.text.length + count;
      while (heard.text.length < wanted) await new Promise<void>((resolve) => (heard.wake = resolve));
    },
  };
}

const UNLIMITED: MigrationParameters = { ...DEFAULT_PARAMETERS, maxBandwidth: 0 };

interface Journey {
  readonly parameters?: MigrationParameters;
  readonly autoConverge?: boolean;
  /** What becomes of the bytes on their way; undefined: the connection breaks. */
  readonly way?: (bytes: Uint8Array, offset: number) => Uint8Array | undefined;
  readonly cancelAfter?: number;
  /** Called before anything is sent while the guest runs. */
  readonly before?: (progress: MigrationProgress) => Promise<void>;
}

/** Sends a machine into another one that was made for it; the migration itself, and what the receiver made of it. */
async function send(
  from: Machine,
  to: Machine,
  { parameters = UNLIMITED, autoConverge, way, cancelAfter, before }: Journey = {},
) {
  const incoming = new IncomingMachine(to);
  const moved = migratedMachine(from, false);
  const passes: number[] = [];
  let offset = 0;
  const migration = new OutgoingMigration(
    moved,
    {
      async send(bytes) {
        if (!migration.hasStopped) await before?.(migration.progress);
        const arriving = way === undefined ? bytes : way(bytes, offset);
        offset += bytes.length;
        if (arriving === undefined) throw new UserError('the connection broke');
        incoming.feed(arriving.slice());
        if (cancelAfter !== undefined && offset > cancelAfter) migration.cancel();
      },
      async finish() {
        incoming.end();
        await incoming.load();
        await to.command('take-disks');
      },
    },
    {
      parameters,
      autoConverge,
      clock,
      hooks: { onPass: (pass) => passes.push(pass), async beforeSwitchover() {}, onDevice() {} },
    },
  );
  try {
    await migration.run();
  } catch (error) {
    // As the monitor does: the guest goes on where it was.
    if (moved.stateBefore !== undefined) {
      await from.command('take-disks');
      if (moved.stateBefore === 'running') await from.command('resume');
    }
    throw error;
  }
  return { migration, passes, isRunning: incoming.isRunning };
}

const incomingMachine = () => createIncomingMachineOn(nodeThreads, THREAD, OPTIONS);

test('a guest that writes all the time moves again and again, and misses nothing', async () => {
  let machine = await createMachineOn(nodeThreads, THREAD, OPTIONS);
  await machine.start();
  let output = printed(machine);
  let letters = '';
  for (let round = 0; round < 4; round++) {
    await output.more(20);
    const next = await incomingMachine();
    assert.equal(next.state, 'inmigrate');
    const { migration, passes, isRunning } = await send(machine, next);
    assert.equal(isRunning, true);
    assert.deepEqual(
      passes,
      passes.map((_, index) => index + 1),
    );
    const { progress } = migration;
    assert.equal(progress.remainingBytes, 0);
    assert.ok(progress.normalPages > 1024 && progress.downtimeBytes > 0 && progress.downtimeMillis > 0);
    const nextOutput = printed(next);
    await next.start();
    await nextOutput.more(1);
    assert.equal(machine.state, 'finish-migrate');
    await machine.stop();
    letters += output.text;
    [machine, output] = [next, nextOutput];
  }
  await output.more(20);
  await machine.stop();
  assertUnbroken(letters + output.text);
});

test('a guest that stands still arrives standing still', async () => {
  await using machine = await createMachineOn(nodeThreads, THREAD, OPTIONS);
  await using next = await incomingMachine();
  const { isRunning } = await send(machine, next);
  assert.equal(isRunning, false);
  const output = printed(next);
  await next.start();
  await output.more(20);
  assertUnbroken(output.text);
  assert.equal(output.text[0], 'b');
});

test('a connection that breaks, bytes that change and a second thought leave the sender running', async (t) => {
  await using machine = await createMachineOn(nodeThreads, THREAD, OPTIONS);
  await machine.start();
  const output = printed(machine);
  await output.more(5);
  const random = randomFrom(7);
  // The stream is at least as long as what the guest writes.
  const LENGTH = 4 * 1024 * 1024;
  let complete = 0;
  for (let round = 0; round < 9; round++) {
    const at = random.next(LENGTH);
    const bit = 1 << random.next(8);
    const ways: Journey[] = [
      { way: (bytes, offset) => (offset + bytes.length > at ? undefined : bytes) },
      {
        way(bytes, offset) {
          if (at < offset || at >= offset + bytes.length) return bytes;
          const altered = bytes.slice();
          altered[at - offset] ^= bit;
          return altered;
        },
      },
      { cancelAfter: at },
    ];
    await using next = await incomingMachine();
    await assert.rejects(send(machine, next, ways[round % 3]), (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.equal(error instanceof MigrationCancelled, round % 3 === 2, error.message);
      complete++;
      return true;
    });
    assert.equal(machine.state, 'running');
    await output.more(5);
  }
  t.diagnostic(`${complete} migrations that came to nothing`);
  // And then it goes after all.
  await using next = await incomingMachine();
  const nextOutput = printed(next);
  await send(machine, next);
  await next.start();
  await nextOutput.more(5);
  await machine.stop();
  assertUnbroken(output.text + nextOutput.text);
});

test('a stream that ends in the devices’ state leaves the sender running with its disks', async () => {
  await using machine = await createMachineOn(nodeThreads, THREAD, OPTIONS);
  await machine.start();
  const output = printed(machine);
  for (const fraction of [0.2, 0.9]) {
    await using next = await incomingMachine();
    let inDevices = 0;
    const way = (bytes: Uint8Array) => {
      // Devices' sections are text, written one by one while the guest stands still.
      if (machine.state === 'finish-migrate' && bytes[0] === 0x7b) inDevices++;
      return inDevices > fraction * 30 ? undefined : bytes;
    };
    await assert.rejects(send(machine, next, { way }), /the connection broke/);
    assert.equal(machine.state, 'running');
    await output.more(5);
  }
  assertUnbroken(output.text);
});

test('a guest that writes faster than the channel carries gets less time until it fits', async () => {
  await using machine = await createMachineOn(nodeThreads, THREAD, OPTIONS);
  await machine.start();
  const output = printed(machine);
  await output.more(5);
  await using next = await incomingMachine();
  const parameters: MigrationParameters = { ...DEFAULT_PARAMETERS, maxBandwidth: 0, downtimeLimit: 0 };
  const percents: number[] = [];
  const { migration, passes } = await send(machine, next, {
    parameters,
    autoConverge: true,
    async before(progress) {
      if (percents.at(-1) !== progress.throttlePercent) percents.push(progress.throttlePercent);
      // All of its memory is written again before anything is sent; in the end that is not too much.
      if (progress.throttlePercent < 40) await output.more(2);
      else parameters.downtimeLimit = 100_000;
    },
  });
  assert.deepEqual(percents.slice(0, 4), [0, 20, 30, 40]);
  assert.ok(passes.length >= 6, `${passes.length} passes`);
  assert.equal(migration.progress.throttlePercent, 0, 'it has its time again');
  const nextOutput = printed(next);
  await next.start();
  await nextOutput.more(5);
  await machine.stop();
  assertUnbroken(output.text + nextOutput.text);
});

test('a machine of other hardware is refused, with what differs', async () => {
  await using machine = await createMachineOn(nodeThreads, THREAD, OPTIONS);
  const others: readonly (readonly [Partial<MachineOptions>, RegExp])[] = [
    [{ memoryBytes: 32 * 1024 * 1024 }, /memoryBytes is 16777216 there and 33554432 here/],
    [{ disks: [] }, /disks is \[\{\}\] there and \[\] here/],
    [{ cpus: 2 }, /cpus is 1 there and 2 here/],
  ];
  for (const [options, message] of others) {
    await using other = await createIncomingMachineOn(nodeThreads, THREAD, { ...OPTIONS, ...options });
    await assert.rejects(send(machine, other), message);
  }
});
