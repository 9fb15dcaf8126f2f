/** The human monitor: commands of people about disks and devices, their help and completion. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rigOf } from '../testing/fake-emulator.ts';
import { completions, runLine } from './run.ts';
import { HMP } from './table.ts';

const LINE = [
  ...['-kernel', 'k', '-nodefaults', '-drive', 'file=/tmp/disk.qcow2,if=none,id=d0,format=qcow2'],
  ...['-device', 'virtio-blk-pci,drive=d0,id=disk0', '-netdev', 'user,id=n0'],
];

async function monitor() {
  const { emulator, machine } = await rigOf(LINE);
  return { emulator, machine, type: (line: string) => runLine(emulator, line) };
}

test('help names every command with its arguments, and one alone', async () => {
  const { type } = await monitor();
  const text = await type('help');
  for (const [name, { help }] of Object.entries(HMP)) {
    assert.ok(text.includes(name) && text.includes(help), name);
    assert.ok((await type(`help ${name}`)).startsWith(name), name);
  }
  assert.equal(await type('help nosuch'), "Error: unknown command: 'nosuch'\r\n");
});

test('completion: commands, then what fits the command', async () => {
  const { emulator } = await monitor();
  assert.deepEqual(completions(emulator, 'block_job_c'), ['block_job_cancel', 'block_job_complete']);
  assert.deepEqual(completions(emulator, 'block_resize '), ['d0']);
  assert.deepEqual(completions(emulator, 'device_del di'), ['disk0']);
  assert.deepEqual(completions(emulator, 'netdev_del '), ['n0']);
  assert.deepEqual(completions(emulator, 'info sta'), ['status']);
});

const NEEDS: readonly (readonly [line: string, complaint: RegExp])[] = [
  ['block_resize d0', /^Error: size is missing/],
  ['block_resize d0 much', /^Error: "much" is not a size/],
  ['block_resize nosuch 1M', /^Error: .*nosuch/],
  ['commit', /^Error: device is missing/],
  ['block_job_cancel d0', /^Error: .*job/i],
  ['block_set_io_throttle d0 1 2 3', /^Error: iops is missing/],
  ['nbd_server_start here', /^Error: 'here' is neither unix:PATH nor HOST:PORT/],
  ['device_add nosuch,id=x', /^Error: 'nosuch' is not a valid device model name/],
  ['device_del nosuch', /^Error: Device 'nosuch' not found/],
  ['drive_add 0 if=ide,file=x,id=y', /^Error: if=ide cannot be plugged in; if=none and device_add can/],
  ['drive_add 0 file=x', /^Error: file and id are needed/],
  ['netdev_del nosuch', /^Error: Device 'nosuch' not found/],
  ['object_add nosuch,id=o', /^Error: Parameter 'qom-type' does not accept value 'nosuch'/],
  ['watchdog_action', /^Error: action is missing/],
];

for (const [line, complaint] of NEEDS) {
  test(`complains: ${line}`, async () => {
    const { type } = await monitor();
    assert.match(await type(line), complaint);
  });
}

test('a disk is plugged in and out, and served', async () => {
  const { type, emulator } = await monitor();
  assert.equal(await type('block_resize d0 2M'), '');
  assert.equal(await type('block_set_io_throttle d0 1000 0 0 0 0 0'), '');
  assert.equal(await type('drive_add 0 if=none,file=/tmp/other.qcow2,id=more,format=qcow2'), 'OK\r\n');
  assert.equal(await type('device_add virtio-blk-pci,drive=more,id=disk1'), '');
  assert.deepEqual(completions(emulator, 'device_del '), ['disk0', 'disk1']);
  assert.equal(await type('netdev_add user,id=n1,restrict=on'), '');
  assert.equal(await type('netdev_del n1'), '');
  assert.equal(await type('object_add iothread,id=s'), '');
  assert.equal(await type('object_del s'), '');
  assert.equal(await type('chardev-add null,id=c'), '');
  assert.match(await type('chardev-add null,id=c'), /already exists/);
  assert.equal(await type('chardev-remove c'), '');
});
