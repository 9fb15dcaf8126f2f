/**
 * Guest programs against QEMU's TCG: what they write to the debug port must be
 * the same. Lines with a ~ are where QEMU does not do what the manual says, and guests
 * that say "Not for QEMU" have only such; they are compared with tests/guests/NAME.expected (VIREO_ACCEPT=1 rewrites it: review the diff).
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Tier } from '../../index.ts';
import { runGuest } from './boot.ts';
import { buildGuest, guestNames, sources, whyNoGuests } from './build.ts';
import { runInQemu, whyNoQemu } from './qemu.ts';

const skip = whyNoGuests();
const noQemu = whyNoQemu();
const limitMillis = 20_000;

/** Lines that are not QEMU's to check, without code addresses, which depend on the assembler. */
function ownLines(lines: readonly string[]): string {
  return lines.map((line) => `${line.replace(/at ([0-9A-F]+) [0-9A-F]{8,16}/g, 'at $1 ...').trimEnd()}\n`).join('');
}

for (const name of guestNames) {
  const isForQemu = !readFileSync(join(sources, `${name}.S`), 'utf8').includes('Not for QEMU');
  const isOwn = (line: string) => !isForQemu || line.startsWith('~');
  const expected = join(sources, `${name}.expected`);
  let theirs: readonly string[] | undefined;

  for (const tier of ['interpreter', 'translator'] satisfies Tier[]) {
    test(`guest ${name}, ${tier}`, { skip }, async (t) => {
      const path = buildGuest(name);
      const { output, end } = await runGuest(path, tier, limitMillis);
      const lines = output.split('\n');
      if (!isForQemu) t.diagnostic('has no oracle');
      else if (noQemu) t.diagnostic(noQemu);
      else {
        theirs ??= runInQemu(path)
          .split('\n')
          .filter((line) => !isOwn(line));
        assert.deepEqual(
          lines.filter((line) => !isOwn(line)),
          theirs,
        );
      }
      assert.equal(end, 'exit', `${output.slice(-500)}\n${end}`);
      const own = ownLines(lines.filter(isOwn));
      if (process.env.VIREO_ACCEPT && own) writeFileSync(expected, own);
      assert.equal(own, existsSync(expected) ? readFileSync(expected, 'utf8') : '');
    });
  }
}
