import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rigOf } from '../testing/fake-emulator.ts';

const LINE = ['-kernel', 'k', '-nodefaults', '-chardev', 'ringbuf,id=ring0'];
const greeting = { QMP: { version: {}, capabilities: ['oob'] } };
const failure = (errorClass: string, desc: string, id?: unknown) => ({
  error: { class: errorClass, desc },
  ...(id === undefined ? {} : { id }),
});

test('before the handshake nothing but the handshake; after it, not a second time', async () => {
  const client = (await rigOf(LINE)).client();
  client.send('{"execute": "query-status"}{"execute": "qmp_capabilities"}{"execute": "qmp_capabilities", "id": [1]}');
  await client.until(4);
  assert.deepEqual(client.messages, [
    greeting,
    failure('CommandNotFound', "Expecting capabilities negotiation with 'qmp_capabilities'"),
    { return: {} },
    failure('CommandNotFound', 'Capabilities negotiation is already complete, command ignored', [1]),
  ]);
});

const WRONG: readonly [string, Record<string, unknown>][] = [
  ['[]', failure('GenericError', 'QMP input must be a JSON object')],
  ['{"id": 7}', failure('GenericError', "QMP input lacks member 'execute'", 7)],
  ['{"execute": 1}', failure('GenericError', "QMP input member 'execute' must be a string")],
  ['{"execute": "stop", "extra": 1}', failure('GenericError', "QMP input member 'extra' is unexpected")],
  ['{"execute": "stop", "arguments": []}', failure('GenericError', "QMP input member 'arguments' must be an object")],
  ['{"execute": "no-such"}', failure('CommandNotFound', 'The command no-such has not been found')],
  ['{"execute": "toString"}', failure('CommandNotFound', 'The command toString has not been found')],
  ['{"execute": "stop", "arguments": {"x": 1}}', failure('GenericError', "Parameter 'x' is unexpected")],
  ['{"execute": "set_link"}', failure('GenericError', "Parameter 'name' is missing")],
  [
    '{"execute": "balloon", "arguments": {"value": "x"}}',
    failure('GenericError', "Invalid parameter type for 'value', expected: integer"),
  ],
  [
    '{"execute": "set-action", "arguments": {"reboot": "x"}}',
    failure('GenericError', "Parameter 'reboot' does not accept value 'x'"),
  ],
  [
    '{"execute": "chardev-add", "arguments": {"id": "a", "backend": {"type": "file", "data": {}}}}',
    failure('GenericError', "Parameter 'backend.data.out' is missing"),
  ],
  [
    '{"execute": "set_link", "arguments": {"name": "no", "up": true}}',
    failure('DeviceNotFound', "Device 'no' not found"),
  ],
  [
    '{"execute": "balloon", "arguments": {"value": 1}}',
    failure('DeviceNotActive', 'No balloon device has been activated'),
  ],
];

for (const [text, reply] of WRONG) {
  test(`what is wrong is said in QEMU's words: ${text}`, async () => {
    const client = (await rigOf(LINE)).client();
    client.send(`{"execute": "qmp_capabilities"}\n${text}\n`);
    await client.until(3);
    assert.deepEqual(client.messages.slice(2), [reply]);
  });
}

test('replies come in the order of the commands, with their ids, a byte at a time too', async () => {
  const client = (await rigOf(LINE)).client();
  const text = Array.from({ length: 50 }, (_, id) => `{"execute": "query-status", "id": ${id}}`).join('');
  for (const byte of new TextEncoder().encode(`{"execute": "qmp_capabilities"}${text}`)) {
    client.session.receive(Uint8Array.of(byte));
  }
  await client.until(52);
  assert.deepEqual(
    client.messages.slice(2).map(({ id }) => id),
    Array.from({ length: 50 }, (_, id) => id),
  );
});

test('events go to every client that said hello', async () => {
  const rig = await rigOf(LINE);
  const [first, second, silent] = [rig.client(), rig.client(), rig.client()];
  await first.call('qmp_capabilities');
  await second.call('qmp_capabilities');
  await first.call('stop');
  await first.call('cont');
  await first.call('system_reset');
  await first.call('system_powerdown');
  rig.machine.happen({ kind: 'shutdown', cause: 'guest-shutdown' });
  const expected = ['STOP', 'RESUME', 'RESET', 'POWERDOWN', 'SHUTDOWN'];
  assert.deepEqual(first.events, expected);
  assert.deepEqual(second.events, expected);
  assert.deepEqual(silent.events, []);
  const reset = second.messages.find(({ event }) => event === 'RESET');
  assert.deepEqual(reset, {
    timestamp: { seconds: 1_000_000_000, microseconds: 0 },
    event: 'RESET',
    data: { guest: false, reason: 'host-qmp-system-reset' },
  });
});

test('of many events of one kind, the first and then the newest a second are sent', async () => {
  const rig = await rigOf(LINE);
  const client = rig.client();
  await client.call('qmp_capabilities');
  const sent = () => client.messages.flatMap(({ event, data }) => (event === 'BALLOON_CHANGE' ? [data] : []));
  for (const actual of [1, 2, 3]) rig.emulator.emit('BALLOON_CHANGE', { actual });
  assert.deepEqual(sent(), [{ actual: 1 }]);
  rig.time.pass(1000);
  assert.deepEqual(sent(), [{ actual: 1 }, { actual: 3 }]);
  rig.time.pass(1000);
  rig.emulator.emit('BALLOON_CHANGE', { actual: 4 });
  assert.deepEqual(sent(), [{ actual: 1 }, { actual: 3 }, { actual: 4 }]);
});

test('out of band: only for commands that can be, and only once it was asked for', async () => {
  const client = (await rigOf(LINE)).client();
  client.send('{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}');
  await client.until(2);
  client.send('{"exec-oob": "query-status", "id": 1}');
  await client.until(3);
  assert.deepEqual(client.messages[2], failure('GenericError', 'The command query-status does not support OOB', 1));
});

test('a client that does not read gets nothing more until it has', async () => {
  const rig = await rigOf(LINE);
  const client = rig.client();
  await client.call('qmp_capabilities');
  client.waitingBytes = 2 ** 30;
  client.send('{"execute": "query-status", "id": 1}'.repeat(20));
  rig.emulator.emit('STOP');
  assert.equal(client.isPaused, true);
  assert.equal(client.messages.length, 2);
  client.waitingBytes = 0;
  client.session.drained();
  await client.until(22);
  assert.equal(client.isPaused, false);
});
