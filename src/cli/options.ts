/** Command-line options as tables: parsing, complaints and help come from them. */
import { UserError } from '../base/index.ts';

/** The command line itself is wrong; programs exit with code 2. */
export class UsageError extends UserError {
  override name = 'UsageError';
}

export interface OptionSpec {
  /** What the option's value is called in the help; without it the option takes none. */
  readonly value?: string;
  /** A one-letter form. */
  readonly short?: string;
  /** May be given several times. */
  readonly repeats?: true;
  readonly help: string;
}
export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** The values that were given, by option name. */
export type OptionValues<Table extends OptionTable> = {
  -readonly [Name in keyof Table]?: Table[Name] extends { readonly value: string }
    ? Table[Name] extends { readonly repeats: true }
      ? string[]
      : string
    : true;
};

/**
 * Reads `--name value`, `--name=value` and `-n value`. There are no other arguments.
 * @throws UsageError that names the argument and what would be right
 */
export function parseOptions<Table extends OptionTable>(table: Table, args: readonly string[]): OptionValues<Table> {
  const values: Record<string, string | true | (string | true)[]> = {};
  for (let index = 0; index < args.length; index += 1) {
    const [, written, inline] = /^(-[^=]*)(?:=(.*))?$/s.exec(args[index]) ?? [];
    if (written === undefined || written === '-') throw new UsageError(`unexpected argument "${args[index]}"`);
    const name = Object.keys(table).find((key) => written === `--${key}` || written === `-${table[key].short}`);
    if (name === undefined) throw new UsageError(`unknown option ${written}${suggestion(written, optionNames(table))}`);
    const { value, repeats } = table[name];
    if (Object.hasOwn(values, name) && !repeats) throw new UsageError(`option ${written} is given twice`);
    if (value === undefined && inline !== undefined) throw new UsageError(`option ${written} takes no value`);
    const given = value === undefined ? true : (inline ?? args[++index]);
    if (given === undefined) throw new UsageError(`option ${written} needs a value: ${written} ${value}`);
    const earlier = values[name];
    values[name] = repeats ? [...(Array.isArray(earlier) ? earlier : []), given] : given;
  }
  return values as OptionValues<Table>;
}

function optionNames(table: OptionTable): string[] {
  return Object.keys(table).map((name) => `--${name}`);
}

/** The options, one line each, aligned. */
export function describeOptions(table: OptionTable): string {
  const rows = Object.entries(table).map(([name, { short, value, help }]) => {
    const forms = `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
    return { forms, help };
  });
  const width = Math.max(...rows.map(({ forms }) => forms.length));
  return rows.map(({ forms, help }) => `  ${forms.padEnd(width)}  ${help}\n`).join('');
}

/** `; did you mean X?` for the nearest of `candidates`, or nothing when none is near. */
export function suggestion(written: string, candidates: readonly string[]): string {
  const bare = (text: string) => text.replace(/^-+/, '').toLowerCase();
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: distanceOf(bare(written), bare(candidate)) }))
    .sort((a, b) => a.distance - b.distance);
  const [nearest] = ranked;
  const limit = Math.max(1, Math.floor(bare(written).length / 2));
  return nearest !== undefined && nearest.distance <= limit ? `; did you mean ${nearest.candidate}?` : '';
}

/** The start of a word counts as one letter off. */
function distanceOf(written: string, candidate: string): number {
  return candidate.startsWith(written) ? 1 : editDistance(written, candidate);
}

/** Letters to insert, delete, replace or swap with their neighbour to make `b` of `a` (optimal string alignment). */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i += 1) {
    rows.push([i]);
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2][j - 2] + 1 : Infinity;
      rows[i].push(Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, replaced, swapped));
    }
  }
  return rows[a.length][b.length];
}

/** The parts between commas; of two in a row, one belongs to the part. */
export function splitCommas(text: string): string[] {
  const parts = [''];
  for (const [piece] of text.matchAll(/,,|,|[^,]+/g)) {
    if (piece === ',') parts.push('');
    else parts[parts.length - 1] += piece === ',,' ? ',' : piece;
  }
  return parts;
}
