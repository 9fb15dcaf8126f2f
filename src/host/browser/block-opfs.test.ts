import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { opfsNode, type SyncAccessHandle } from './index.ts';

/** What a browser gives, over an array; at most `quotaBytes` long. */
function fakeHandle(quotaBytes = Number.POSITIVE_INFINITY): SyncAccessHandle {
  let content = new Uint8Array(0);
  const truncate = (size: number) => {
    if (size > quotaBytes) throw Object.assign(new Error('no room'), { name: 'QuotaExceededError' });
    const next = new Uint8Array(size);
    next.set(content.subarray(0, size));
    content = next;
  };
  return {
    read(buffer, { at }) {
      const part = content.subarray(at, at + buffer.length);
      buffer.set(part);
      return part.length;
    },
    write(buffer, { at }) {
      if (at + buffer.length > content.length) truncate(at + buffer.length);
      content.set(buffer, at);
      return buffer.length;
    },
    getSize: () => content.length,
    truncate,
    flush() {},
    close() {},
  };
}

let last = fakeHandle();
blockNodeSuite('a file of OPFS', {
  async create(sizeBytes) {
    last = fakeHandle();
    last.truncate(sizeBytes);
    return opfsNode(last, 'disk');
  },
  reopen: async () => opfsNode(last, 'disk'),
});

test('a full quota is told as such', async () => {
  const node = opfsNode(fakeHandle(1000), 'disk');
  await assert.rejects(node.write(990, new Uint8Array(20)), {
    code: 'no-space',
    message: /disk: cannot write: no room/,
  });
  await assert.rejects(opfsNode(last, 'disk', true).write(0, new Uint8Array(1)), { code: 'read-only' });
});
