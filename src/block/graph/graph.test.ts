/** QMP's block commands on a disk that a guest writes to all the time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { compare, exercise } from '../../contract/testing/block-node-suite.ts';
import { openNbd } from '../nbd/index.ts';
import { streamPair } from '../nbd/testing/stream-pair.ts';
import { type MemoryHost, memoryHost } from '../testing/memory-drivers.ts';
import { BlockGraph, GraphError } from './index.ts';

const SIZE = 1_048_576;

/** A disk `disk.qcow2` with a guest on it. */
async function rig() {
  const host = memoryHost();
  const events: { name: string; data: Readonly<Record<string, unknown>> }[] = [];
  let onEvent = () => {};
  const graph = new BlockGraph(host.drivers, (name, data) => {
    events.push({ name, data });
    onEvent();
  });
  await host.make('disk.qcow2', 'qcow2', SIZE);
  await graph.add(new Map(Object.entries({ 'node-name': 'file0', driver: 'file', filename: 'disk.qcow2' })));
  await graph.add(new Map(Object.entries({ 'node-name': 'disk0', driver: 'qcow2', file: 'file0' })));
  let changes = 0;
  const device = graph.attach({
    drive: 'd0',
    device: '/machine/peripheral/vd0',
    node: 'disk0',
    onChange: () => changes++,
  });
  const model = new Uint8Array(SIZE);
  let round = 0;
  const writes = async (count = 5) => {
    round += 1;
    await exercise(device, model, round, count);
  };
  await writes(10);
  const until = async (name: string, fits: (data: Readonly<Record<string, unknown>>) => boolean = () => true) => {
    for (;;) {
      const found = events.find((event) => event.name === name && fits(event.data));
      if (found !== undefined) return found.data;
      await new Promise<void>((resolve) => (onEvent = resolve));
    }
  };
  const run = (name: string, args: unknown = {}) => graph.execute(name, args) as Promise<never>;
  return { host, graph, events, device, model, writes, until, run, changes: () => changes };
}

type Rig = Awaited<ReturnType<typeof rig>>;

/** A guest that writes until it is stopped. */
function busy({ writes }: Rig) {
  let isOver = false;
  const running = (async () => {
    while (!isOver) {
      await writes();
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  return async () => {
    isOver = true;
    await running;
  };
}

async function nodes({ run }: Rig): Promise<string[]> {
  const list = (await run('query-named-block-nodes', { flat: true })) as { 'node-name': string }[];
  return list.map((node) => node['node-name']);
}

async function inserted({ run }: Rig): Promise<Record<string, unknown>> {
  const [{ inserted: found }] = (await run('query-attached')) as { inserted: Record<string, unknown> }[];
  return found;
}

/** Reads an image as a machine of its own would, after everything was closed. */
async function reopened(host: MemoryHost, file: string, use: (node: BlockNode) => Promise<void>): Promise<void> {
  const graph = new BlockGraph(host.drivers, () => {});
  await graph.add(
    new Map(Object.entries({ 'node-name': 'n', driver: 'qcow2', 'file.driver': 'file', 'file.filename': file })),
  );
  await use(graph.attach({ device: 'check', node: 'n' }));
  await graph.close();
}

test('a chain is built while the guest writes, streamed, committed, and reads the same throughout', async () => {
  const r = await rig();
  const stop = busy(r);
  for (const [index, name] of ['one', 'two', 'three'].entries()) {
    const target = index === 0 ? { device: 'd0' } : { 'node-name': ['one', 'two'][index - 1] };
    await r.run('blockdev-snapshot-sync', { ...target, 'snapshot-file': `${name}.qcow2`, 'snapshot-node-name': name });
  }
  assert.equal((await inserted(r)).backing_file_depth, 3);
  await r.run('block-commit', { 'job-id': 'mid', device: 'd0', 'top-node': 'two', 'base-node': 'one' });
  assert.deepEqual((await r.until('BLOCK_JOB_COMPLETED', ({ device }) => device === 'mid')).error, undefined);
  assert.ok(!(await nodes(r)).includes('two'));
  assert.equal((await inserted(r)).backing_file_depth, 2);
  await r.run('block-stream', { 'job-id': 'stream', device: 'd0', 'base-node': 'disk0' });
  await r.until('BLOCK_JOB_COMPLETED', ({ device }) => device === 'stream');
  assert.equal((await inserted(r)).backing_file_depth, 1);
  await r.run('block-commit', { 'job-id': 'active', device: 'd0' });
  await r.until('BLOCK_JOB_READY', ({ device }) => device === 'active');
  await r.run('block-job-complete', { device: 'active' });
  const over = await r.until('BLOCK_JOB_COMPLETED', ({ device }) => device === 'active');
  assert.equal(over.error, undefined);
  await stop();
  await compare(r.device, r.model);
  assert.equal((await inserted(r))['node-name'], 'disk0');
  assert.deepEqual(await nodes(r), ['file0', 'disk0']);
  await r.graph.close();
  await reopened(r.host, 'disk.qcow2', (node) => compare(node, r.model));
});

test('a mirror: statuses and events in order, the guest goes on with the copy', async () => {
  const r = await rig();
  const stop = busy(r);
  await r.host.make('copy.qcow2', 'qcow2', SIZE);
  await r.run('blockdev-add', {
    driver: 'qcow2',
    'node-name': 'copy',
    file: { driver: 'file', filename: 'copy.qcow2' },
  });
  const begin = { 'job-id': 'm', device: 'd0', target: 'copy', sync: 'full', 'auto-dismiss': false };
  await r.run('blockdev-mirror', begin);
  await assert.rejects(r.run('blockdev-mirror', { ...begin, 'job-id': 'other' }), /is busy/);
  await assert.rejects(r.run('blockdev-del', { 'node-name': 'copy' }), /is busy/);
  await r.until('BLOCK_JOB_READY');
  await r.run('block-job-complete', { device: 'm' });
  await r.until('BLOCK_JOB_COMPLETED');
  await stop();
  assert.deepEqual(
    r.events.filter(({ data }) => data.id === 'm').map(({ data }) => data.status),
    ['created', 'running', 'ready', 'waiting', 'pending', 'concluded'],
  );
  const [job] = (await r.run('query-jobs')) as { status: string }[];
  assert.equal(job.status, 'concluded');
  await r.run('job-dismiss', { id: 'm' });
  assert.deepEqual(await r.run('query-jobs'), []);
  assert.equal((await inserted(r))['node-name'], 'copy');
  await compare(r.device, r.model);
  await r.run('blockdev-del', { 'node-name': 'disk0' });
  await r.run('blockdev-del', { 'node-name': 'file0' });
  await r.graph.close();
  await reopened(r.host, 'copy.qcow2', (node) => compare(node, r.model));
});

test('a ready mirror that is cancelled leaves a copy of that moment; force leaves none', async () => {
  const r = await rig();
  await r.run('drive-mirror', { device: 'd0', target: 'copy.qcow2', sync: 'full', format: 'qcow2' });
  await r.until('BLOCK_JOB_READY');
  const before = r.model.slice();
  await r.run('block-job-cancel', { device: 'd0' });
  await r.until('BLOCK_JOB_COMPLETED');
  await r.writes(10);
  await reopened(r.host, 'copy.qcow2', (node) => compare(node, before));
  await r.run('drive-mirror', { 'job-id': 'b', device: 'd0', target: 'copy2.qcow2', sync: 'full' });
  await r.until('BLOCK_JOB_READY', ({ device }) => device === 'b');
  await r.run('block-job-cancel', { device: 'b', force: true });
  await r.until('BLOCK_JOB_CANCELLED');
  assert.deepEqual(await nodes(r), ['file0', 'disk0']);
  await r.graph.close();
});

test('a backup holds what was there when it began; pause, speed, finalize', async () => {
  const r = await rig();
  const before = r.model.slice();
  const args = { 'job-id': 'b', device: 'd0', target: 'backup.qcow2', sync: 'full', format: 'qcow2' };
  await r.run('drive-backup', { ...args, 'auto-finalize': false });
  await r.run('block-job-pause', { device: 'b' });
  await assert.rejects(r.run('block-job-complete', { device: 'b' }), /cannot be completed/);
  await r.writes(20);
  await r.run('block-job-set-speed', { device: 'b', speed: 2 ** 30 });
  await r.run('block-job-resume', { device: 'b' });
  await r.until('BLOCK_JOB_PENDING');
  await r.run('job-finalize', { id: 'b' });
  assert.equal((await r.until('BLOCK_JOB_COMPLETED')).error, undefined);
  await r.graph.close();
  await reopened(r.host, 'backup.qcow2', (node) => compare(node, before));
});

test('bitmaps: an incremental backup on top of a full one is the disk', async () => {
  for (const persistent of [false, true]) {
    const r = await rig();
    await r.run('transaction', {
      actions: [
        { type: 'block-dirty-bitmap-add', data: { node: 'disk0', name: 'b0', persistent } },
        {
          type: 'drive-backup',
          data: { 'job-id': 'full', device: 'd0', target: 'full.qcow2', sync: 'full', format: 'qcow2' },
        },
      ],
    });
    await r.until('BLOCK_JOB_COMPLETED');
    await r.writes(15);
    const [bitmap] = (await inserted(r))['dirty-bitmaps'] as {
      count: number;
      persistent: boolean;
      recording: boolean;
    }[];
    assert.ok(bitmap.count > 0);
    assert.deepEqual([bitmap.recording, bitmap.persistent], [true, persistent]);
    const backing = { 'backing-file': 'full.qcow2', 'backing-fmt': 'qcow2' };
    await r.run('blockdev-create', { 'job-id': 'c', options: { driver: 'file', filename: 'inc.qcow2', size: 0 } });
    await r.until('JOB_STATUS_CHANGE', ({ id, status }) => id === 'c' && status === 'concluded');
    await r.run('blockdev-add', { driver: 'file', 'node-name': 'incfile', filename: 'inc.qcow2' });
    await r.run('blockdev-create', {
      'job-id': 'q',
      options: { driver: 'qcow2', file: 'incfile', size: SIZE, ...backing },
    });
    await r.until('JOB_STATUS_CHANGE', ({ id, status }) => id === 'q' && status === 'concluded');
    await r.run('blockdev-add', { driver: 'qcow2', 'node-name': 'inc', file: 'incfile' });
    await r.run('blockdev-backup', { 'job-id': 'inc', device: 'd0', target: 'inc', sync: 'incremental', bitmap: 'b0' });
    assert.equal((await r.until('BLOCK_JOB_COMPLETED', ({ device }) => device === 'inc')).error, undefined);
    const model = r.model.slice();
    await r.writes(10);
    await r.graph.close();
    await reopened(r.host, 'inc.qcow2', (node) => compare(node, model));
  }
});

test('a transaction that fails in the middle changes nothing', async () => {
  const r = await rig();
  const before = await nodes(r);
  const actions = [
    { type: 'block-dirty-bitmap-add', data: { node: 'disk0', name: 'b' } },
    { type: 'blockdev-snapshot-sync', data: { device: 'd0', 'snapshot-file': 's.qcow2', 'snapshot-node-name': 's' } },
    { type: 'drive-backup', data: { 'job-id': 'x', device: 'd0', target: 'x.qcow2', sync: 'full', format: 'qcow2' } },
    { type: 'blockdev-snapshot-internal-sync', data: { device: 'd0', name: 'inside' } },
    { type: 'abort', data: {} },
  ];
  await assert.rejects(r.run('transaction', { actions }), /aborted using Abort action/);
  assert.deepEqual(await nodes(r), before);
  assert.deepEqual(await r.run('query-block-jobs'), []);
  assert.equal((await inserted(r))['dirty-bitmaps'], undefined);
  await r.writes();
  await compare(r.device, r.model);
  await r.graph.close();
});

test('sizes, limits, reopening, internal snapshots', async () => {
  const r = await rig();
  await r.run('block_resize', { device: 'd0', size: SIZE * 2 });
  assert.equal(r.device.sizeBytes, SIZE * 2);
  assert.equal(r.changes(), 1);
  await r.run('block_set_io_throttle', {
    device: 'd0',
    bps: 0,
    bps_rd: 1e9,
    bps_wr: 0,
    iops: 5000,
    iops_rd: 0,
    iops_wr: 0,
  });
  const { bps_rd, iops } = await inserted(r);
  assert.deepEqual([bps_rd, iops], [1e9, 5000]);
  await r.run('blockdev-snapshot-internal-sync', { device: 'd0', name: 'inside' });
  const { image } = (await inserted(r)) as { image: { snapshots: { name: string }[] } };
  assert.equal(image.snapshots[0].name, 'inside');
  const gone = (await r.run('blockdev-snapshot-delete-internal-sync', { device: 'd0', name: 'inside' })) as {
    name: string;
  };
  assert.equal(gone.name, 'inside');
  const options = { driver: 'qcow2', 'node-name': 'disk0', file: 'file0', 'read-only': true };
  await r.run('blockdev-reopen', { options: [options] });
  await assert.rejects(r.device.write(0, new Uint8Array(512)), /reading only/);
  await r.run('blockdev-reopen', { options: [{ ...options, 'read-only': false }] });
  await r.device.write(0, new Uint8Array(512));
  await r.graph.close();
});

test('an overlay that libvirt made becomes what the guest writes to', async () => {
  const r = await rig();
  await r.host.make('over.qcow2', 'qcow2', SIZE, 'disk.qcow2');
  const file = { driver: 'file', filename: 'over.qcow2' };
  await r.run('blockdev-add', { driver: 'qcow2', 'node-name': 'over', file, backing: null });
  await r.run('blockdev-snapshot', { node: 'disk0', overlay: 'over' });
  await r.writes(10);
  await compare(r.device, r.model);
  assert.equal((await inserted(r)).backing_file_depth, 1);
  await r.graph.close();
  await reopened(r.host, 'over.qcow2', (node) => compare(node, r.model));
});

test('an export is served while the guest writes, and goes away', async () => {
  const r = await rig();
  await r.run('nbd-server-start', { addr: { type: 'unix', data: { path: '/nbd' } } });
  await r.run('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'disk0', name: 'disk', writable: true });
  const [ours, theirs] = streamPair();
  r.host.accept!(theirs);
  const client = await openNbd({
    name: 'nbd',
    exportName: 'disk',
    connect: async () => ours,
    readOnly: false,
    clock: r.host.drivers.clock,
  });
  await compare(client, r.model);
  await exercise(client, r.model, 99, 5);
  await compare(r.device, r.model);
  await assert.rejects(r.run('block-export-del', { id: 'e' }), /still in use/);
  await assert.rejects(r.run('blockdev-del', { 'node-name': 'disk0' }), /is busy/);
  await r.run('block-export-del', { id: 'e', mode: 'hard' });
  await r.until('BLOCK_EXPORT_DELETED');
  await assert.rejects(client.read(0, new Uint8Array(512)));
  await r.run('nbd-server-stop');
  assert.equal(r.host.accept, undefined);
  await r.graph.close();
});

test('a drive for discs: opened, emptied, filled, closed', async () => {
  const host = memoryHost();
  const graph = new BlockGraph(host.drivers, () => {});
  await host.make('a.iso', 'raw', 4096);
  await host.make('b.iso', 'raw', 8192);
  await graph.add(
    new Map(
      Object.entries({
        'node-name': 'a',
        driver: 'raw',
        'file.driver': 'file',
        'file.filename': 'a.iso',
        'read-only': 'on',
      }),
    ),
  );
  const device = graph.attach({ drive: 'cd', device: '/machine/peripheral/cd0', node: 'a', isRemovable: true });
  assert.equal(device.sizeBytes, 4096);
  await assert.rejects(graph.execute('blockdev-remove-medium', { id: 'cd0' }), /is not open/);
  await graph.execute('eject', { id: 'cd0' });
  assert.deepEqual([device.hasMedium, device.sizeBytes], [false, 0]);
  await assert.rejects(device.read(0, new Uint8Array(512)), /no medium/);
  await graph.execute('blockdev-change-medium', { device: 'cd', filename: 'b.iso', format: 'raw' });
  assert.deepEqual([device.hasMedium, device.sizeBytes], [true, 8192]);
  await graph.close();
});

test('what is wrong is said, with the class that clients look for', async () => {
  const r = await rig();
  const failure = async (name: string, args: unknown) => {
    const error = await r.run(name, args).then(
      () => assert.fail(`${name} succeeded`),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof GraphError);
    return `${error.errorClass}: ${error.message}`;
  };
  assert.equal(await failure('block-job-cancel', { device: 'no' }), "DeviceNotActive: Block job 'no' not found");
  assert.equal(await failure('job-cancel', { id: 'no' }), 'GenericError: Job not found');
  assert.equal(await failure('block-commit', { device: 'no' }), "DeviceNotFound: Device 'no' not found");
  const noNode = "GenericError: Cannot find device='no' nor node-name='no'";
  assert.equal(await failure('block-stream', { device: 'no' }), noNode);
  assert.equal(await failure('eject', { device: 'no' }), "DeviceNotFound: Device 'no' not found");
  const twice = { driver: 'file', 'node-name': 'disk0', filename: 'disk.qcow2' };
  assert.equal(await failure('blockdev-add', twice), "GenericError: Duplicate nodes with node-name='disk0'");
  assert.equal(
    await failure('blockdev-add', { ...twice, 'node-name': 'n', colour: 'red' }),
    "GenericError: Parameter 'colour' is unexpected",
  );
  assert.match(await failure('blockdev-mirror', { device: 'd0', target: 'disk0', sync: 'full' }), /Cannot copy/);
  await r.graph.close();
});
