/** A thread that begins late. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostThread } from '../contract/index.ts';
import { threadInNeed } from './thread-in-need.ts';

test('a thread begins with its second message and gets both, in order; what it says reaches who asked before', async () => {
  const log: unknown[] = [];
  let begun: HostThread | undefined;
  let say = (_message: unknown) => {};
  let end = (_reason: string) => {};
  const thread = threadInNeed(() => {
    begun = {
      post: (message) => log.push(message),
      connect: (receiver) => (say = receiver),
      onEnd: (receiver) => (end = receiver),
      terminate: async () => void log.push('terminated'),
    };
    return begun;
  });
  thread.connect((message) => log.push(['said', message]));
  thread.onEnd((reason) => log.push(['ended', reason]));
  thread.post('what for');
  await thread.terminate();
  assert.deepEqual({ begun, log }, { begun: undefined, log: [] });
  thread.post(1);
  thread.post(2);
  say('three');
  end('enough');
  await thread.terminate();
  assert.deepEqual(log, ['what for', 1, 2, ['said', 'three'], ['ended', 'enough'], 'terminated']);
});
