import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { UsageError } from './options.ts';
import { parseVsock } from './vsock-option.ts';

test('a path, and a context id', () => {
  assert.deepEqual(parseVsock('v.sock'), { path: resolve('v.sock'), guestCid: undefined });
  assert.deepEqual(parseVsock('/run/a,,b,cid=42'), { path: '/run/a,b', guestCid: 42 });
  for (const text of ['', '/x,cid=', '/x,cid=-1', '/x,port=3']) assert.throws(() => parseVsock(text), UsageError);
});
