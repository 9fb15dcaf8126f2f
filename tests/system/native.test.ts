/** Programs that print the same in a guest as on this computer's processor. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { CpioEntry } from '../../src/base/index.ts';
import { runInGuest, tryDefaultGuest } from './guest.ts';
import { build, nativeUnavailable } from './native.ts';

const guest = await tryDefaultGuest();
const skip = (typeof guest === 'string' && guest) || nativeUnavailable;

const COMPAT_FLAGS = '-m32 -march=i686 -mfpmath=387 -nostdlib -static -ffreestanding -fno-pic -no-pie';

function program(data: Uint8Array): CpioEntry {
  return { kind: 'file', path: 'bin/program', permissions: 0o755, data };
}

async function compare(context: TestContext, source: string, flags: string, args: string, cpu: string): Promise<void> {
  const native = await build(context, source, flags.split(' '));
  if (native === undefined) return;
  const inGuest = await runInGuest(`program ${args}`, { files: [program(native.bytes)], cpu });
  assert.equal(inGuest.stderr, '');
  const { status, stdout } = native.run([]);
  assert.equal(inGuest.stdout, stdout);
  assert.deepEqual([status, inGuest.exitCode], [0, 0]);
}

test('a static glibc program on the least CPU', { skip }, (context) =>
  compare(context, 'glibc.c', '-static -pthread -lm', '', 'qemu64'),
);

test('a static glibc program with AVX2, FMA and BMI', { skip }, (context) =>
  compare(context, 'glibc.c', '-static -pthread -lm', 'vectors', 'max'),
);

test('a 32-bit program: compatibility mode', { skip }, (context) =>
  compare(context, 'compat.c', COMPAT_FLAGS, '', 'max'),
);
