/** Debian's dynamically linked bash, coreutils, python3 and perl, on the least CPU and on the one with everything. */
import { test } from 'node:test';
import { goldenChecks, runChecks } from './checks.ts';
import { debianUserland, USERLAND_ROOT } from './debian.ts';
import { tryDefaultGuest } from './guest.ts';

const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

for (const cpu of ['qemu64', 'max']) {
  test(`Debian's userland, CPU model ${cpu}`, { skip }, async (context) => {
    const [checks, archive] = await Promise.all([goldenChecks('userland'), debianUserland()]);
    await runChecks(context, checks, { root: USERLAND_ROOT, archive, cpu, timeoutMillis: 300_000 });
  });
}
