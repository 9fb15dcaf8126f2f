/** A machine whose disk goes along: mirrored to an export of the receiver while the guest runs, as libvirt does it. */
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { assertUnbroken, MEMORY_CHECKER } from '../../machine/testing/memory-checker.ts';
import { openImage } from '../drivers/open.ts';
import { runImg } from '../img/program.ts';
import { temporaryFolder } from './testing/emulator.ts';
import { startSide } from './testing/side.ts';

const folder = await temporaryFolder();
after(() => rm(folder, { recursive: true }));
const DISK_BYTES = 8 * 2 ** 20;

const disk = (name: string) => [
  ...['-drive', `file=${name}.qcow2,if=none,id=disk,format=qcow2`],
  ...['-device', 'virtio-blk-pci,drive=disk'],
];

async function contentOf(name: string): Promise<Uint8Array> {
  const { node } = await openImage(join(folder, `${name}.qcow2`), { format: 'qcow2' });
  const bytes = new Uint8Array(DISK_BYTES);
  await node.read(0, bytes);
  await node.close();
  return bytes;
}

test('the disk is mirrored to an export of the receiver, and the machine follows', async () => {
  await writeFile(join(folder, 'kernel'), MEMORY_CHECKER);
  const content = Uint8Array.from({ length: DISK_BYTES }, (_, at) => (at >> 9) ^ (at * 7));
  await writeFile(join(folder, 'content'), content);
  const images = [
    ['convert', '-f', 'raw', '-O', 'qcow2', join(folder, 'content'), join(folder, 'a.qcow2')],
    ['create', '-q', '-f', 'qcow2', join(folder, 'b.qcow2'), String(DISK_BYTES)],
  ];
  for (const args of images) assert.equal(await runImg(args), 0);

  await using source = await startSide(folder, 'a', disk('a'));
  await using target = await startSide(folder, 'b', [...disk('b'), '-incoming', 'defer']);
  const address = { type: 'unix', data: { path: 'nbd' } };
  await target.qmp.call('nbd-server-start', { addr: address });
  await target.qmp.call('nbd-server-add', { device: 'disk', writable: true });
  await source.more(3);
  const copy = { target: 'nbd+unix:///disk?socket=nbd', sync: 'full', mode: 'existing', format: 'raw' };
  await source.qmp.call('drive-mirror', { device: 'disk', 'job-id': 'copy', ...copy });
  await source.qmp.event('BLOCK_JOB_READY');

  const capabilities = [
    { capability: 'events', state: true },
    { capability: 'pause-before-switchover', state: true },
  ];
  await source.qmp.call('migrate-set-capabilities', { capabilities });
  await target.qmp.call('migrate-incoming', { uri: 'unix:way' });
  await source.qmp.call('migrate', { uri: 'unix:way' });
  await source.untilStatus('pre-switchover');
  // The guest stands still: nothing is written any more.
  await source.qmp.call('block-job-cancel', { device: 'copy' });
  await source.qmp.event('BLOCK_JOB_COMPLETED');
  await source.qmp.call('migrate-continue', { state: 'pre-switchover' });
  await source.untilStatus('completed');
  await target.untilStatus('completed');
  await target.qmp.call('nbd-server-stop');
  await target.more(3);
  assertUnbroken((await source.letters()) + (await target.letters()));
  for (const { qmp } of [target, source]) await qmp.call('quit');
  await Promise.all([source, target].map((side) => side.qmp.until(() => false).catch(() => {})));
  assert.deepEqual(Buffer.compare(await contentOf('b'), content), 0);
});
