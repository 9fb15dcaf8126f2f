import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateError } from './errors.ts';
import { array, blob, bool, bytes, int, list, nanos, oneOf, optional, stateTable, u8, u16, u32, u64 } from './state.ts';

const TABLE = stateTable({
  byte: u8(7),
  word: u16(),
  dword: u32(0xffff_ffff),
  quad: u64(),
  small: int(-1, 3, 0),
  flag: bool(true),
  mode: oneOf('idle', 'busy'),
  when: nanos(),
  maybe: optional(u8()),
  pair: array(2, u16(5)),
  queue: list(3, u8()),
  memory: bytes(4),
  tail: blob(3),
  inner: stateTable({ x: u8() }),
});

test('the initial state is what the table says, fresh each time', () => {
  const one = TABLE.initial();
  one.pair[0] = 9;
  one.memory[0] = 9;
  one.inner.x = 9;
  assert.deepEqual(TABLE.initial(), {
    byte: 7,
    word: 0,
    dword: 0xffff_ffff,
    quad: 0n,
    small: 0,
    flag: true,
    mode: 'idle',
    when: 0,
    maybe: undefined,
    pair: [5, 5],
    queue: [],
    memory: new Uint8Array(4),
    tail: new Uint8Array(0),
    inner: { x: 0 },
  });
});

test('what is saved loads again, and shares nothing with the state', () => {
  const state = TABLE.initial();
  Object.assign(state, { maybe: 3, queue: [1, 2], mode: 'busy', quad: 2n ** 64n - 1n, when: -1.5 });
  const record = TABLE.save(state);
  assert.deepEqual(TABLE.load(record), state);
  state.memory[0] = 1;
  state.pair[1] = 1;
  state.queue.push(3);
  assert.notDeepEqual(TABLE.load(record), state);
});

test('what does not fit is refused with the path of the field', () => {
  const record = TABLE.save(TABLE.initial());
  const cases: [string, unknown][] = [
    ['byte', 256],
    ['byte', 1.5],
    ['byte', '7'],
    ['word', -1],
    ['dword', 2 ** 32],
    ['quad', 1],
    ['small', 4],
    ['flag', 1],
    ['mode', 'lost'],
    ['when', Number.NaN],
    ['maybe', [1, 2]],
    ['maybe', 1],
    ['pair', [1]],
    ['queue', [1, 2, 3, 4]],
    ['memory', new Uint8Array(5)],
    ['tail', new Uint8Array(4)],
    ['inner', 3],
  ];
  const refusedAt = (field: string) => (error: unknown) => error instanceof StateError && error.field === field;
  for (const [field, value] of cases) assert.throws(() => TABLE.load({ ...record, [field]: value }), refusedAt(field));
  assert.throws(() => TABLE.load({ ...record, pair: [1, 70_000] }), refusedAt('pair[1]'));
  assert.throws(() => TABLE.load({ ...record, inner: { x: 1, y: 2 } }), refusedAt('inner.y'));
  assert.throws(() => TABLE.load({ ...record, maybe: [300] }), refusedAt('maybe'));
  assert.throws(() => TABLE.load(undefined), /must be a record, not missing/);
});
