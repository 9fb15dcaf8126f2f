/** Many small scripts in one boot of a guest, each a test of its own. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { CpioEntry } from '../../src/base/index.ts';
import { type GuestOptions, runInGuest } from './guest.ts';

export interface Check {
  readonly name: string;
  /** What the guest runs, in an empty folder of its own; its standard error joins its output. */
  readonly script: string;
  /** Its whole output without the last newline, a pattern in it, or what looks at it. */
  readonly output: string | RegExp | ((output: string) => void);
  /** Its exit code, if not 0. */
  readonly code?: number;
}

export interface CheckOptions extends GuestOptions {
  /** What runs the scripts in the guest; busybox's shell without it. */
  readonly interpreter?: string;
}

interface Outcome {
  readonly output: string;
  readonly code: number;
}

/** Boots one guest that runs all checks one after the other; each becomes a subtest. */
export async function runChecks(
  context: TestContext,
  checks: readonly Check[],
  options: CheckOptions = {},
): Promise<void> {
  const { interpreter = 'sh', files = [], ...guest } = options;
  const scripts = checks.map(({ script }, index): CpioEntry => {
    const data = new TextEncoder().encode(`${script}\n`);
    return { kind: 'file', path: `checks/${index}`, permissions: 0o644, data };
  });
  const directory: CpioEntry = { kind: 'directory', path: 'checks', permissions: 0o755 };
  const { stdout } = await runInGuest(runner(checks.length, interpreter), {
    ...guest,
    files: [...files, directory, ...scripts],
  });
  const outcomes = parseOutcomes(stdout);
  for (const [index, { name, output, code = 0 }] of checks.entries()) {
    await context.test(name, () => {
      const outcome = outcomes.get(index);
      assert.ok(outcome !== undefined, `the guest did not come to this check; it printed:\n${stdout.slice(-2000)}`);
      if (typeof output === 'string') assert.equal(outcome.output, output);
      else if (output instanceof RegExp) assert.match(outcome.output, output);
      else output(outcome.output);
      assert.equal(outcome.code, code, outcome.output);
    });
  }
}

/** The script that runs the checks: before each its number, after each its exit code, on marked lines. */
function runner(count: number, interpreter: string): string {
  return `
    index=0
    while [ $index -lt ${count} ]; do
      mkdir -p /tmp/$index; cd /tmp/$index
      echo "<<< $index"
      ${interpreter} /checks/$index 2>&1 </dev/null
      printf '\\n>>> %s\\n' $?
      cd /; rm -rf /tmp/$index
      index=$((index + 1))
    done`;
}

function parseOutcomes(stdout: string): Map<number, Outcome> {
  const found = stdout.matchAll(/^<<< (\d+)\n([\s\S]*?)\n>>> (\d+)$/gm);
  return new Map([...found].map(([, index, output, code]) => [Number(index), { output: output.trimEnd(), code: Number(code) }]));
}
