/** Many small scripts in one boot of a guest, each a test of its own. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
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
  /** What runs it; without it, sh. */
  readonly interpreter?: string;
}

export interface CheckOptions extends GuestOptions {
  /** The checks run below this folder of the guest, such as 'debian/'; it has folders dev, proc, sys and tmp. */
  readonly root?: string;
}

interface Outcome {
  readonly output: string;
  readonly code: number;
  /** How long it took by the guest's clock. */
  readonly seconds: number;
}

const INTERPRETERS: Readonly<Record<string, string>> = {
  '.bash': 'bash',
  '.pl': 'perl',
  '.py': 'python3',
  '.sh': 'sh',
};

/** The scripts in a folder of tests/guests; beside each, in .out, what it prints on a real x86 processor. */
export async function goldenChecks(folder: string): Promise<Check[]> {
  const url = (name: string) => new URL(`../guests/${folder}/${name}`, import.meta.url);
  const scripts = (await readdir(url(''))).filter((name) => extname(name) in INTERPRETERS).sort();
  return Promise.all(
    scripts.map(async (name) => {
      const script = await readFile(url(name), 'utf8');
      const output = await readFile(url(name.replace(/\.\w+$/, '.out')), 'utf8');
      return { name, script, output: output.trimEnd(), interpreter: INTERPRETERS[extname(name)] };
    }),
  );
}

/** Boots one guest that runs all checks one after the other; each becomes a subtest. */
export async function runChecks(
  context: TestContext,
  checks: readonly Check[],
  options: CheckOptions = {},
): Promise<void> {
  const { root = '', files = [], ...guest } = options;
  const scripts = [...checks.map(({ script }, index) => [`check-${index}`, script]), ['runner', runnerOf(checks)]];
  const scriptFiles = scripts.map(([name, script]): CpioEntry => {
    const data = new TextEncoder().encode(`${script}\n`);
    return { kind: 'file', path: `${root}${name}`, permissions: 0o644, data };
  });
  const start =
    root === ''
      ? 'sh /runner'
      : `for name in dev proc sys; do mount -o bind /$name /${root}$name; done
    chroot /${root} sh /runner`;
  const { stdout } = await runInGuest(start, { ...guest, files: [...files, ...scriptFiles] });
  const outcomes = parseOutcomes(stdout);
  for (const [index, { name, output, code = 0 }] of checks.entries()) {
    await context.test(name, (subtest) => {
      const outcome = outcomes.get(index);
      assert.ok(outcome !== undefined, `the guest did not come to this check; it printed:\n${stdout.slice(-2000)}`);
      subtest.diagnostic(`${outcome.seconds.toFixed(1)} s by the guest's clock`);
      if (typeof output === 'string') assert.equal(outcome.output, output);
      else if (output instanceof RegExp) assert.match(outcome.output, output);
      else output(outcome.output);
      assert.equal(outcome.code, code, outcome.output);
    });
  }
}

/** The script that runs the checks: before each its number, after each its exit code, on lines marked with the time. */
function runnerOf(checks: readonly Check[]): string {
  const runs = checks.map(
    ({ interpreter = 'sh' }, index) => `
      mkdir /tmp/${index}; cd /tmp/${index}
      echo "<<< ${index} $(cut -d' ' -f1 /proc/uptime)"
      ${interpreter} /check-${index} 2>&1 </dev/null
      printf '\\n>>> %s %s\\n' $? "$(cut -d' ' -f1 /proc/uptime)"
      cd /; rm -rf /tmp/${index}`,
  );
  return runs.join('\n');
}

function parseOutcomes(stdout: string): Map<number, Outcome> {
  const found = stdout.matchAll(/^<<< (\d+) ([\d.]+)\n([\s\S]*?)\n>>> (\d+) ([\d.]+)$/gm);
  return new Map(
    [...found].map(([, index, start, output, code, end]) => {
      const outcome = { output: output.trimEnd(), code: Number(code), seconds: Number(end) - Number(start) };
      return [Number(index), outcome];
    }),
  );
}
