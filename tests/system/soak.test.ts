/**
 * A compression job again and again in one guest, with a right result each time, and a host process that does not grow:
 * `VIREO_SOAK_MINUTES=10` for the long form.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { runInGuest, tryDefaultGuest } from './guest.ts';

const SECONDS = 60 * Number(process.env.VIREO_SOAK_MINUTES ?? 0.2);
const LINES = 200_000;
/** What may be added to the process between the first rounds and the last: translations, up to their limits. */
const GROWTH_MAX_MEBIBYTES = 300;

const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

test(`compression for ${SECONDS} seconds`, { skip, timeout: (SECONDS + 200) * 1000 }, async () => {
  const text = Array.from({ length: LINES }, (_, i) => `${i + 1}\n`).join('');
  const hash = createHash('sha256').update(text).digest('hex');
  const script = `
    end=$(($(date +%s) + ${SECONDS})); rounds=0
    seq 1 ${LINES} > /tmp/text
    while [ $(date +%s) -lt $end ] || [ $rounds -lt 2 ]; do
      for tool in gzip bzip2; do
        $tool -c /tmp/text > /tmp/packed
        found=$($tool -dc /tmp/packed | sort -n | sha256sum)
        [ "$found" = "${hash}  -" ] || { echo "$tool in round $rounds: $found"; exit 1; }
      done
      rounds=$((rounds + 1))
    done
    echo "$rounds rounds"`;
  const before = process.memoryUsage().rss;
  const { exitCode, stdout, stderr } = await runInGuest(script, { timeoutMillis: (SECONDS + 180) * 1000 });
  assert.match(stdout, /^\d+ rounds\n$/);
  assert.deepEqual({ exitCode, stderr }, { exitCode: 0, stderr: '' });
  const grown = (process.memoryUsage().rss - before) / 1024 ** 2;
  assert.ok(
    grown < 512 + GROWTH_MAX_MEBIBYTES,
    `the process grew by ${grown.toFixed(0)} MiB, the guest's 512 included`,
  );
  process.stdout.write(`soak: ${stdout.trim()}, ${grown.toFixed(0)} MiB more in the process\n`);
});
