/**
 * The differential tests at any size, as a program:
 *   npm run test:differential -- [--cases N] [--seed N] [--case N] [--rows REGEX] [--failures N]
 */
import { parseArgs } from 'node:util';
import type { Tier } from '../../index.ts';
import { describeFailure, titleOf } from './report.ts';
import { createDifferential, type Failure } from './run.ts';

const help = `Compares Vireo's instructions with this machine's CPU.

  --cases N      how many cases to run (200000)
  --seed N       seed of the random numbers (the time)
  --case N       run this one case of the seed
  --rows REGEX   only rows whose mnemonic matches
  --tier TIER    interpreter (default), translator, or auto
  --programs     programs of several instructions instead of single ones
  --failures N   how many failures to print in full (10)
  --per-row      print the first failure of each row instead
  -h, --help     this text
`;

function readOptions() {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '200000' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      case: { type: 'string' },
      rows: { type: 'string', default: '' },
      tier: { type: 'string', default: 'interpreter' },
      programs: { type: 'boolean', default: false },
      failures: { type: 'string', default: '10' },
      'per-row': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const number = (name: 'cases' | 'seed' | 'failures' | 'case', fallback: number) => {
    const text = values[name];
    if (text === undefined) return fallback;
    if (!/^\d+$/.test(text)) throw new Error(`--${name} wants a number, not '${text}'`);
    return Number(text);
  };
  return {
    cases: number('cases', 0),
    seed: number('seed', 0),
    only: number('case', -1),
    failures: number('failures', 0),
    rows: new RegExp(values.rows),
    tier: tierOf(values.tier),
    perRow: values['per-row'],
    programs: values.programs,
    help: values.help,
  };
}

function tierOf(text: string): Tier {
  if (text === 'interpreter' || text === 'translator' || text === 'auto') return text;
  throw new Error(`--tier wants interpreter, translator or auto, not '${text}'`);
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options.help) {
    process.stdout.write(help);
    return 0;
  }
  const differential = await createDifferential(
    options.seed,
    ({ row }) => options.rows.test(row.mnemonic),
    options.tier,
    options.programs,
  );
  if (typeof differential === 'string') {
    process.stdout.write(`skipped: ${differential}\n`);
    return 0;
  }
  const rows = differential.generator.rows.length;
  process.stdout.write(`seed ${options.seed}, ${rows} rows; left out:\n`);
  for (const [reason, left] of differential.excluded)
    process.stdout.write(`  ${reason}: ${left.map((p) => p.row.mnemonic).join(' ')}\n`);
  const failures: Failure[] = [];
  const [first, count] = options.only >= 0 ? [options.only, 1] : [0, options.cases];
  const start = performance.now();
  await differential.run(
    first,
    count,
    (f) => failures.push(f),
    (done) => {
      if (process.stdout.isTTY) process.stdout.write(`\r${done} of ${count} cases, ${failures.length} failures `);
    },
  );
  differential.close();
  if (process.stdout.isTTY) process.stdout.write('\n');
  report(failures, options);
  process.stdout.write(
    `${count} cases in ${((performance.now() - start) / 1000).toFixed(1)} s, ${failures.length} failures, seed ${options.seed}\n`,
  );
  return failures.length > 0 ? 1 : 0;
}

function report(failures: readonly Failure[], options: { failures: number; perRow: boolean; seed: number }): void {
  const byRow = Map.groupBy(failures, (f) => titleOf(f.testCase));
  const shown = options.perRow ? [...byRow.values()].map(([f]) => f) : failures.slice(0, options.failures);
  for (const failure of shown) process.stdout.write(`${describeFailure(options.seed, failure)}\n`);
  for (const [title, list] of byRow) process.stdout.write(`${String(list.length).padStart(6)}  ${title}\n`);
}

process.exitCode = await main();
