import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defaultGuest } from 'vireo';

/** Runs an example to its end; returns what it prints. */
async function run(context: TestContext, name: string): Promise<string | undefined> {
  const unavailable = await defaultGuest().then(
    () => undefined,
    (error: Error) => error.message,
  );
  if (unavailable !== undefined) {
    context.skip(unavailable);
    return undefined;
  }
  const example = fileURLToPath(new URL(name, import.meta.url));
  const child = spawn(process.execPath, [example], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  assert.equal(status, 0, stderr);
  return stdout;
}

test('exec.ts', async (context) => {
  const output = await run(context, './exec.ts');
  if (output !== undefined) assert.equal(output, 'Linux x86_64\n42\nexit code 3\n');
});

test('console.ts', async (context) => {
  const output = await run(context, './console.ts');
  if (output === undefined) return;
  assert.match(output, /^Mem: +2\d\d /m);
  assert.match(output, /the machine ended: poweroff\n$/);
});
