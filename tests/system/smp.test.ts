/** Several CPUs on the software CPU: Linux starts them, moves work between them and stops them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInGuest, tryDefaultGuest } from './guest.ts';

const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

const SCRIPT = `
set -e
nproc
count() { n=0; while [ $n -lt 3000 ]; do n=$((n + 1)); done; echo $n; }
for cpu in 0 1 2 3; do count > /tmp/count$cpu & done
wait
cat /tmp/count*
# One process goes from CPU to CPU, and a CPU goes away and comes back.
for cpu in 0 1 2 3 2 1 0; do taskset $((1 << cpu)) sha256sum /bin/busybox; done | sort -u | wc -l
echo 0 > /sys/devices/system/cpu/cpu3/online; nproc
echo 1 > /sys/devices/system/cpu/cpu3/online; nproc
awk '/^LOC/ { for (i = 2; i <= 5; i++) if ($i == 0) print "no timer on " i - 2 }' /proc/interrupts
`;

test('four CPUs', { skip }, async () => {
  const { exitCode, stdout, stderr } = await runInGuest(SCRIPT, { cpus: 4 });
  assert.equal(stdout, ['4', '3000', '3000', '3000', '3000', '1', '3', '4', ''].join('\n'));
  assert.deepEqual({ exitCode, stderr }, { exitCode: 0, stderr: '' });
});
