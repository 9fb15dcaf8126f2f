/** Debian's dynamically linked bash, coreutils, python3 and perl, on the least CPU and on the one with everything. */
import { test } from 'node:test';
import { goldenChecks, runChecks } from './checks.ts';
import { debianUserland, USERLAND_ROOT } from './debian.ts';
import { tryDefaultGuest } from './guest.ts';

// Not inside a test: the first time, getting the packages takes longer than a test may.
const guest = await tryDefaultGuest();
const userland = typeof guest === 'string' ? guest : await debianUserland().catch((error: Error) => error.message);
const skip = typeof userland === 'string' && userland;

for (const cpu of ['qemu64', 'max']) {
  test(`Debian's userland, CPU model ${cpu}`, { skip }, async (context) => {
    if (typeof userland === 'string') return;
    await runChecks(context, await goldenChecks('userland'), { root: USERLAND_ROOT, archive: userland, cpu });
  });
}
