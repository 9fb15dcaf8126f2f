/** Every documented example is run against an emulator, and its reply held against the schema. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { introspect } from '../schema/introspect.ts';
import { checkValue } from '../schema/validate.ts';
import { rigOf } from '../testing/fake-emulator.ts';
import { schema } from './index.ts';

const LINE = [
  ...['-kernel', 'k', '-nodefaults', '-m', '64', '-chardev', 'ringbuf,id=ring0'],
  ...['-netdev', 'user,id=hostnet0', '-device', 'virtio-net-pci,netdev=hostnet0,id=net0'],
  ...['-drive', 'file=disk.qcow2,format=qcow2,if=none,id=d0', '-device', 'virtio-blk-pci,drive=d0,id=disk0'],
  ...['-blockdev', 'file,node-name=sparefile,filename=spare.qcow2'],
  ...['-blockdev', 'qcow2,node-name=spare,file=sparefile', '-device', 'scsi-cd,id=cd0'],
  ...['-device', 'virtio-balloon-pci,id=balloon0', '-object', 'iothread,id=io0'],
];

for (const [name, command] of Object.entries(schema.commands)) {
  for (const [index, { arguments: args, returns }] of command.examples.entries()) {
    test(`${name}: example ${index + 1}`, async () => {
      const client = (await rigOf(LINE)).client();
      if (name !== 'qmp_capabilities') await client.call('qmp_capabilities');
      if (/^block-dirty-bitmap/.test(name))
        await client.call('block-dirty-bitmap-add', { node: 'spare', name: 'kept' });
      const reply = await client.call(name, args);
      assert.ok('return' in reply, JSON.stringify(reply.error));
      checkValue(command.returns, reply.return, 'return');
      if (returns !== undefined) assert.deepEqual(reply.return, returns);
    });
  }
}

test('the schema describes itself: every type that is named is there, once', () => {
  const infos = introspect(schema);
  const names = infos.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const text = JSON.stringify(infos);
  for (const [, type] of text.matchAll(/"(?:type|arg-type|ret-type|element-type)":"([^"]+)"/g)) {
    assert.ok(names.includes(type), `type ${type} is missing`);
  }
});

interface Info {
  readonly 'arg-type': string;
  readonly features: readonly string[];
  readonly values: readonly string[];
  readonly members: readonly { readonly name: string; readonly type: string }[];
}

test('what libvirt looks for in the schema is there', () => {
  const infos = introspect(schema);
  const find = (name: string) => infos.find((info) => info.name === name) as unknown as Info;
  assert.ok(find('device_add').features.includes('json-cli-hotplug'));
  const tag = (command: string, member: string) => {
    const args = find(find(command)['arg-type']);
    return find(args.members.find((one) => one.name === member)!.type).values;
  };
  assert.ok(tag('object-add', 'qom-type').includes('secret'));
  assert.ok(tag('netdev_add', 'type').includes('dgram'));
});
