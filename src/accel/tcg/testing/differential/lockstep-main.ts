/**
 * Random programs in lockstep, as a program:
 *   npm run test:lockstep -- [--programs N] [--seed N] [--program N] [--branches N] [--tier TIER]
 */
import { parseArgs } from 'node:util';
import { startRandomProgram } from '../random-program.ts';
import { smallGuest } from '../small-guest.ts';
import { type LockstepDifference, lockstep } from './lockstep.ts';
import { Random } from './random.ts';

const help = `Runs random programs translated and, instruction by instruction, in the interpreter; prints the first difference.

  --programs N   how many programs to run (200)
  --seed N       seed of the random numbers (the time)
  --program N    run this one program of the seed
  --branches N   taken branches between two comparisons, at most (30)
  --tier TIER    what is compared with the interpreter: translator (default) or auto
  -h, --help     this text
`;

function readOptions() {
  const { values } = parseArgs({
    options: {
      programs: { type: 'string', default: '200' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      program: { type: 'string' },
      branches: { type: 'string', default: '30' },
      tier: { type: 'string', default: 'translator' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const number = (name: 'programs' | 'seed' | 'program' | 'branches', least: number): number => {
    const text = values[name] ?? '';
    if (!/^\d{1,9}$/.test(text) || Number(text) < least) throw new Error(`--${name} wants a number, not '${text}'`);
    return Number(text);
  };
  const { tier, help } = values;
  if (tier !== 'translator' && tier !== 'auto') throw new Error(`--tier wants translator or auto, not '${tier}'`);
  const [first, count] = values.program === undefined ? [0, number('programs', 1)] : [number('program', 0), 1];
  return { first, count, seed: number('seed', 0), branches: number('branches', 1), tier, help } as const;
}

function describe(seed: number, program: number, { instructions, differences }: LockstepDifference): string {
  const shown = differences.slice(0, 20).map((text) => `  ${text}`);
  if (differences.length > shown.length) shown.push(`  and ${differences.length - shown.length} more`);
  return [`program ${program} (--seed ${seed} --program ${program}) differs after`, ...instructions, ...shown].join(
    '\n',
  );
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options.help) {
    process.stdout.write(help);
    return 0;
  }
  const { first, count, seed, branches } = options;
  const pair = { translated: await smallGuest(options.tier), stepped: await smallGuest('interpreter') };
  for (let program = first; program < first + count; program++) {
    for (const guest of [pair.translated, pair.stepped]) startRandomProgram(guest, new Random(seed, 2 * program));
    const r = new Random(seed, 2 * program + 1);
    const found = lockstep(pair, () => 1 + r.below(branches));
    if (!found) continue;
    process.stdout.write(`${describe(seed, program, found)}\n`);
    return 1;
  }
  process.stdout.write(`${count} programs without a difference, seed ${seed}\n`);
  return 0;
}

process.exitCode = await main();
