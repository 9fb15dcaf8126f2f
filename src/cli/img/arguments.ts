/** Command lines as getopt reads them: `-f raw`, `-fraw`, `-qp`, `--output=json`, options and names in any order. */
import { UserError } from '../../base/index.ts';

export { parseKeyValues } from '../drivers/options.ts';

/** Options that a command takes: a letter or a long name, and whether it has a value. */
export type OptionSpecs = Readonly<Record<string, 'flag' | 'value' | 'list'>>;

export interface Arguments {
  readonly names: readonly string[];
  has(option: string): boolean;
  get(option: string): string | undefined;
  all(option: string): readonly string[];
}

/** Every command also takes `--object`. @throws UserError that names the option */
export function parseArguments(ownSpecs: OptionSpecs, args: readonly string[]): Arguments {
  const specs: OptionSpecs = { ...ownSpecs, object: 'list' };
  const names: string[] = [];
  const values = new Map<string, string[]>();
  const add = (option: string, value: string) => values.set(option, [...(values.get(option) ?? []), value]);
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i];
    if (arg === '--') {
      names.push(...args.slice(i + 1));
      break;
    }
    if (arg.startsWith('--')) {
      const [, name, inline] = /^--([^=]*)(?:=(.*))?$/s.exec(arg)!;
      const kind = name.length > 1 && Object.hasOwn(specs, name) ? specs[name] : undefined;
      if (kind === undefined) throw new UserError(`unrecognized option '--${name}'`);
      if (kind === 'flag' && inline !== undefined) throw new UserError(`option '--${name}' doesn't allow an argument`);
      const value = kind === 'flag' ? '' : (inline ?? args[++i]);
      if (value === undefined) throw new UserError(`option '--${name}' requires an argument`);
      add(name, value);
    } else if (arg.startsWith('-') && arg.length > 1) {
      for (let at = 1; at < arg.length; at += 1) {
        const letter = arg[at];
        if (!Object.hasOwn(specs, letter)) throw new UserError(`invalid option -- '${letter}'`);
        if (specs[letter] === 'flag') {
          add(letter, '');
          continue;
        }
        const value = at + 1 < arg.length ? arg.slice(at + 1) : args[++i];
        if (value === undefined) throw new UserError(`option requires an argument -- '${letter}'`);
        add(letter, value);
        break;
      }
    } else {
      names.push(arg);
    }
  }
  return {
    names,
    has: (option) => values.has(option),
    get: (option) => values.get(option)?.at(-1),
    all: (option) => values.get(option) ?? [],
  };
}

const SUFFIXES = 'bkmgtpe';

/** A size as qemu-img takes it: `512`, `1.5G`, `64k`, `0x1000`. @throws UserError naming `what` */
export function parseBytes(text: string, what = 'image size'): number {
  const match = /^(?:(0x[0-9a-f]+)|(\d+(?:\.\d+)?)([bkmgtpe]?))$/i.exec(text);
  const unit = match?.[3] ? 1024 ** SUFFIXES.indexOf(match[3].toLowerCase()) : 1;
  const bytes = match === null ? Number.NaN : match[1] ? Number(match[1]) : Number(match[2]) * unit;
  if (!Number.isFinite(bytes) || bytes > Number.MAX_SAFE_INTEGER) {
    throw new UserError(
      `Invalid ${what} specified: '${text}'. You may use k, M, G, T, P or E suffixes for kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.`,
    );
  }
  return Math.floor(bytes);
}

export function parseSwitch(name: string, text: string): boolean {
  if (text === 'on' || text === 'yes' || text === 'true' || text === 'y') return true;
  if (text === 'off' || text === 'no' || text === 'false' || text === 'n') return false;
  throw new UserError(`Parameter '${name}' expects 'on' or 'off'`);
}

/** `--output`: true for JSON. */
export function wantsJson(args: Arguments): boolean {
  const output = args.get('output') ?? 'human';
  if (output !== 'human' && output !== 'json')
    throw new UserError('--output must be used with human or json as argument.');
  return output === 'json';
}

/** The one image that most commands take. */
export function oneName(args: Arguments): string {
  if (args.names.length !== 1) throw new UserError('Expecting one image file name');
  return args.names[0];
}
