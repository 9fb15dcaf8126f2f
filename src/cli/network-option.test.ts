import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNetwork } from './network-option.ts';
import { UsageError } from './options.ts';

test('a network, and what is said of it', () => {
  assert.deepEqual(parseNetwork('user'), { kind: 'user', hostForwards: [], restrict: false, mac: undefined });
  assert.deepEqual(parseNetwork('user,hostfwd=tcp::2222-:22,restrict=on,hostfwd=udp::53-:53,mac=52:54:00:aa:bb:CC'), {
    kind: 'user',
    hostForwards: ['tcp::2222-:22', 'udp::53-:53'],
    restrict: true,
    mac: '52:54:00:aa:bb:CC',
  });
});

const COMPLAINTS: readonly [string, RegExp][] = [
  ['', /^--net: there is no network , only user$/],
  ['tap', /there is no network tap, only user$/],
  ['user,hostfw=x', /unknown setting "hostfw=x"; did you mean hostfwd\?$/],
  ['user,restrict=maybe', /unknown setting "restrict=maybe"/],
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
