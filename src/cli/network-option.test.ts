import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNetwork } from './network-option.ts';
import { UsageError } from './options.ts';

test('a network, and what is said of it', () => {
  assert.deepEqual(parseNetwork('user'), { kind: 'user' });
  const text =
    'user,hostfwd=tcp::2222-:22,loss=5%,restrict=on,dnssearch=a,,b,mac=52:54:00:aa:bb:CC,queues=4,net=10.9.0.0/24';
  assert.deepEqual(parseNetwork(text), {
    kind: 'user',
    userOptions: 'hostfwd=tcp::2222-:22,restrict=on,dnssearch=a,,b,net=10.9.0.0/24',
    lossPercent: 5,
    mac: '52:54:00:aa:bb:CC',
    queues: 4,
  });
});

const COMPLAINTS: readonly [string, RegExp][] = [
  ['', /^--net: there is no network , only user$/],
  ['tap', /there is no network tap, only user$/],
  ['user,hostfw=x', /--net: network: there is no option hostfw; there are .*hostfwd/],
  ['user,restrict=maybe', /restrict=maybe must be on or off/],
  ['user,loss=101', /loss=101 is not 0 to 100/],
  ['user,queues=many', /queues=many is not a number/],
  ['user,mac=1:2:3', /"1:2:3" is not the address of a network card/],
  ['user,mac=01:54:00:12:34:56', /is not the address of a network card/],
];

for (const [text, message] of COMPLAINTS) {
  test(`a wrong --net: ${text}`, () => {
    assert.throws(
      () => parseNetwork(text),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  });
}
