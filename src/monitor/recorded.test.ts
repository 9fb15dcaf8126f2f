/**
 * What libvirt asked QEMU 7.2 in a recorded session is asked again, and the replies have the same shapes.
 * testing/recorded-replies.jsonl: the questions, and of the replies the first element of every list.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { rigOf } from './testing/fake-emulator.ts';

const RECORDED = readFileSync(new URL('./testing/recorded-replies.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { q: { execute: string; arguments?: unknown }; r: Record<string, unknown> });

/** A guest as libvirt started it, as far as its devices exist here. */
const LINE = [
  ...['-S', '-machine', 'pc-q35-7.2', '-m', '64', '-nodefaults', '-kernel', 'k', '-chardev', 'ringbuf,id=charserial0'],
  ...['-blockdev', '{"driver":"file","filename":"disk.qcow2","node-name":"libvirt-2-storage"}'],
  ...['-blockdev', '{"node-name":"libvirt-2-format","driver":"qcow2","file":"libvirt-2-storage","backing":null}'],
  ...['-device', '{"driver":"virtio-blk-pci","drive":"libvirt-2-format","id":"virtio-disk0"}'],
  ...[
    '-netdev',
    '{"type":"user","id":"hostnet0"}',
    '-device',
    '{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0"}',
  ],
  ...['-device', '{"driver":"virtio-balloon-pci","id":"balloon0"}'],
];

/** Members that QEMU's replies have and ours do not, by the place where they stand. */
const ABSENT: Readonly<Record<string, readonly string[]>> = {
  'query-machines': ['return[].is-default', 'return[].alias'],
  'device-list-properties': ['return[].default-value', 'return[].description'],
  'qom-list-properties': ['return[].description'],
  'query-named-block-nodes': ['return[].image.cluster-size', 'return[].image.format-specific'],
  'query-block': ['return[].inserted.image.cluster-size', 'return[].inserted.image.format-specific'],
  'query-blockstats': [
    'return[].driver-specific',
    'return[].parent.driver-specific',
    'return[].stats.idle_time_ns',
    'return[].parent.stats.idle_time_ns',
  ],
  'query-qmp-schema': ['return[].members', 'return[].element-type', 'return[].json-type'],
};

/** Every place in a reply and the kind of value there; of lists, all elements together. */
function shapeOf(value: unknown, place: string, found: Map<string, string> = new Map()): Map<string, string> {
  if (Array.isArray(value)) {
    found.set(place, 'array');
    for (const element of value) shapeOf(element, `${place}[]`, found);
  } else if (typeof value === 'object' && value !== null) {
    found.set(place, 'object');
    for (const [name, member] of Object.entries(value)) shapeOf(member, `${place}.${name}`, found);
  } else found.set(place, typeof value);
  return found;
}

for (const { q, r } of RECORDED) {
  test(`the reply has the recorded shape: ${q.execute} ${JSON.stringify(q.arguments ?? {}).slice(0, 80)}`, async () => {
    const rig = await rigOf(LINE, false);
    const client = rig.client();
    if (q.execute !== 'qmp_capabilities') await client.call('qmp_capabilities');
    const { id: _, ...reply } = await client.call(q.execute, q.arguments);
    if ('error' in r) {
      assert.deepEqual(reply, r);
      return;
    }
    assert.ok('return' in reply, JSON.stringify(reply.error));
    const ours = shapeOf(reply.return, 'return');
    const absent = ABSENT[q.execute] ?? [];
    for (const [place, kind] of shapeOf(r.return, 'return')) {
      if (absent.some((one) => place.startsWith(one)) || place.startsWith('return.model.props.')) continue;
      // An empty list of ours says nothing of its elements.
      if (place.startsWith('return[]') && (reply.return as unknown[]).length === 0) continue;
      assert.equal(ours.get(place), kind, place);
    }
  });
}
