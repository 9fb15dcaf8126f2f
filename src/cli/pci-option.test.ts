import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { parseChannels } from './channels.ts';
import { parseDisk } from './disk-option.ts';
import { parseNetwork } from './network-option.ts';
import { UsageError } from './options.ts';
import { parseBridge, parseInput, parseVirtioMode } from './pci-option.ts';

test('bridges, and devices behind them', () => {
  assert.deepEqual(parseBridge('pcie-root-port,name=a'), { kind: 'pcie-root-port', name: 'a' });
  const inner = { kind: 'pci-bridge', name: 'b', slot: 7, behind: 'a' };
  assert.deepEqual(parseBridge('pci-bridge,name=b,behind=a,slot=7'), inner);
  const disk = { file: '/d', behind: 'a', slot: 3, virtio: 'transitional' };
  assert.deepEqual(parseDisk('/d,behind=a,slot=3,virtio=transitional'), disk);
  assert.deepEqual(parseNetwork('user,behind=b,slot=4'), { kind: 'user', behind: 'b', slot: 4 });
});

test('terminals and channels of the virtio console, terminals first', () => {
  assert.deepEqual(parseChannels(['t'], ['org.x.0=/run/x=y']), [
    { port: { isConsole: true }, path: resolve('t') },
    { port: { name: 'org.x.0' }, path: '/run/x=y' },
  ]);
});

const COMPLAINTS: readonly [string, () => unknown, RegExp][] = [
  ['kind', () => parseBridge('pci-bridg,name=a'), /there is no bridge pci-bridg, only .*did you mean pci-bridge\?/],
  ['name', () => parseBridge('pci-bridge'), /it needs a name/],
  ['setting', () => parseBridge('pci-bridge,nam=a'), /unknown setting "nam=a"; did you mean name\?/],
  ['slot', () => parseBridge('pci-bridge,name=a,slot=x'), /unknown setting "slot=x"/],
  [
    'mode',
    () => parseVirtioMode('--virtio', 'old'),
    /--virtio: virtio devices can be modern, transitional, legacy, not/,
  ],
  ['mode of a disk', () => parseDisk('/d,virtio=old'), /can be modern, transitional, legacy, not old/],
  ['input', () => parseInput('mous'), /there is no mous, only keyboard, mouse, tablet; did you mean mouse\?/],
  ['channel', () => parseChannels([], ['name']), /it is a name and a path/],
];

for (const [name, parse, message] of COMPLAINTS) {
  test(`a wrong ${name}`, () => {
    assert.throws(parse, (error) => error instanceof UsageError && message.test(error.message));
  });
}
