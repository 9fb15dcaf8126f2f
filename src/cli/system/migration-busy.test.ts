/**
 * A Debian guest that writes memory, its disk and the network goes from process to process.
 * VIREO_MIGRATIONS says how often; 50 is the long version.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { open, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectQmp, type Emulator, type QmpClient, startEmulator, temporaryFolder } from './testing/emulator.ts';
import { guestOrReason } from './testing/guest.ts';

const MIGRATIONS = Number(process.env.VIREO_MIGRATIONS ?? 3);
const SECTOR = 512;

const { guest, skip } = await guestOrReason();

interface Side extends AsyncDisposable {
  readonly emulator: Emulator;
  readonly qmp: QmpClient;
  /** What its serial port has said. */
  text(): string;
  type(line: string): void;
  /** Resolves to what the expression found. */
  until(pattern: RegExp): Promise<RegExpMatchArray>;
}

async function startSide(folder: string, name: string, ...more: string[]): Promise<Side> {
  const line = `-m 128 -nodefaults -display none -accel tcg -kernel kernel -initrd initrd
    -drive file=disk,if=virtio,format=raw -nic user,model=virtio
    -chardev socket,id=s,path=serial-${name},server=on,wait=off -serial chardev:s -qmp unix:qmp-${name},server=on,wait=off`;
  const append = ['-append', guest!.commandLine];
  const emulator = startEmulator([...line.trim().split(/\s+/), ...append, ...more], folder, false);
  const qmp = await connectQmp(join(folder, `qmp-${name}`));
  const serial = createConnection(join(folder, `serial-${name}`));
  await once(serial, 'connect');
  let [text, wake] = ['', () => {}];
  serial.on('error', () => {});
  serial.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1');
    wake();
  });
  return {
    emulator,
    qmp,
    text: () => text,
    type: (typed) => void serial.write(`${typed}\n`),
    async until(pattern) {
      for (let found = text.match(pattern); ; found = text.match(pattern)) {
        if (found !== null) return found;
        if (emulator.child.exitCode !== null) throw new Error(`it ended: ${emulator.errors()}\n${text.slice(-1000)}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async [Symbol.asyncDispose]() {
      serial.destroy();
      qmp[Symbol.dispose]();
      await emulator[Symbol.asyncDispose]();
    },
  };
}

/**
 * Round i: half a megabyte that is new is copied and compared; sector i of the disk is written, flushed and read back;
 * the server hears of i, asked until it has answered.
 */
const workload = (port: number) => `i=0; while [ ! -e /stop ]; do i=$((i+1));
  head -c 500000 /dev/urandom > /tmp/a; cp /tmp/a /tmp/b; cmp /tmp/a /tmp/b || echo mem\\ory lost;
  echo round $i > /tmp/line; dd if=/tmp/line of=/dev/vda bs=512 seek=$i conv=sync,fsync,notrunc 2> /dev/null;
  echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=512 skip=$i count=1 2> /dev/null | grep -q "^round $i\\$" || echo di\\sk lost;
  until timeout 20 wget -q -O /dev/null http://10.0.2.2:${port}/$i 2> /dev/null; do :; done; echo done $i; done; echo it is ov\\er`;

test('a busy guest loses nothing', { skip }, async (t) => {
  const folder = await temporaryFolder();
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'kernel'), guest!.kernel);
  await writeFile(join(folder, 'initrd'), guest!.initramfs);
  await writeFile(join(folder, 'disk'), '');
  await truncate(join(folder, 'disk'), 16 * 2 ** 20);
  const asked: number[] = [];
  const server = createServer(({ url }, response) => {
    asked.push(Number(url!.slice(1)));
    response.end('thanks');
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');

  await using sides = new AsyncDisposableStack();
  let side = sides.use(await startSide(folder, '0'));
  await side.until(/~ # /);
  const { port } = server.address() as AddressInfo;
  side.type(`(${workload(port).replaceAll('\n', ' ')}) &`);
  await side.until(/done 2\r/);
  const downtimes: number[] = [];
  let printed = '';
  for (let round = 1; round <= MIGRATIONS; round++) {
    const next = sides.use(await startSide(folder, String(round), '-incoming', 'unix:way'));
    await side.qmp.call('migrate-set-parameters', { 'max-bandwidth': 0 });
    await side.qmp.call('migrate', { uri: 'unix:way' });
    let info = await side.qmp.call('query-migrate');
    while (!['completed', 'failed'].includes(info.status)) info = await side.qmp.call('query-migrate');
    assert.equal(info.status, 'completed', info['error-desc']);
    downtimes.push(info.downtime);
    // It works there: a whole round was begun and ended.
    await next.until(/done \d+\r(.|\n)*done \d+\r/);
    printed += side.text();
    await side[Symbol.asyncDispose]();
    side = next;
  }
  downtimes.sort((a, b) => a - b);
  t.diagnostic(
    `${MIGRATIONS} migrations: downtime ${downtimes[0]} to ${downtimes.at(-1)} ms, median ${downtimes[downtimes.length >> 1]} ms`,
  );
  side.type('touch /stop');
  await side.until(/it is over/);
  printed += side.text();
  assert.doesNotMatch(printed, /memory lost|disk lost/);
  // What a side says when it is left may still be on the way; every round was told of once the server knew of it.
  const rounds = Number([...printed.matchAll(/done (\d+)\r/g)].at(-1)![1]);
  t.diagnostic(`${rounds} rounds of memory, disk and network; ${asked.length} requests`);
  assert.deepEqual(
    [...new Set(asked)],
    Array.from({ length: rounds }, (_, index) => index + 1),
  );
  side.type('poweroff -f');
  assert.equal(await side.emulator.ended, 0);
  await using disk = await open(join(folder, 'disk'));
  for (let i = 1; i <= rounds; i++) {
    const { buffer } = await disk.read(Buffer.alloc(SECTOR), 0, SECTOR, i * SECTOR);
    assert.equal(buffer.toString('latin1').replace(/\n\0*$/, ''), `round ${i}`);
  }
});
