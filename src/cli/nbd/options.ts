/** vireo-nbd's options: each has a long name, and most a letter. */
import { UserError } from '../../base/index.ts';
import type { HostEndpoint } from '../../contract/index.ts';
import { type Arguments, type OptionSpecs, parseArguments } from '../img/arguments.ts';

const OPTIONS = {
  help: ['h', 'flag'],
  version: ['V', 'flag'],
  port: ['p', 'value'],
  bind: ['b', 'value'],
  socket: ['k', 'value'],
  shared: ['e', 'value'],
  persistent: ['t', 'flag'],
  verbose: ['v', 'flag'],
  'export-name': ['x', 'value'],
  description: ['D', 'value'],
  offset: ['o', 'value'],
  partition: ['P', 'value'],
  'allocation-depth': ['A', 'flag'],
  bitmap: ['B', 'list'],
  list: ['L', 'flag'],
  'tls-creds': [undefined, 'value'],
  'tls-hostname': [undefined, 'value'],
  fork: [undefined, 'flag'],
  'pid-file': [undefined, 'value'],
  connect: ['c', 'value'],
  disconnect: ['d', 'flag'],
  format: ['f', 'value'],
  'read-only': ['r', 'flag'],
  snapshot: ['s', 'flag'],
  'load-snapshot': ['l', 'value'],
  nocache: ['n', 'flag'],
  cache: [undefined, 'value'],
  aio: [undefined, 'value'],
  discard: [undefined, 'value'],
  'detect-zeroes': [undefined, 'value'],
  'image-opts': [undefined, 'flag'],
} as const;

type OptionName = keyof typeof OPTIONS | 'object';

/** The options by their long names, whichever was used. */
export interface NbdArguments {
  readonly names: readonly string[];
  has(option: OptionName): boolean;
  get(option: OptionName): string | undefined;
  all(option: OptionName): readonly string[];
  /** The value, which must be one of `allowed`; the first of them without the option. */
  choice<T extends string>(option: OptionName, allowed: readonly T[]): T;
  /** A whole number. */
  number(option: OptionName, from: number, to: number, otherwise: number): number;
}

/** @throws UserError that names the option */
export function parseNbdArguments(argv: readonly string[]): NbdArguments {
  const specs: Record<string, OptionSpecs[string]> = {};
  for (const [name, [letter, kind]] of Object.entries(OPTIONS)) {
    specs[name] = kind;
    if (letter !== undefined) specs[letter] = kind;
  }
  const args: Arguments = parseArguments(specs, argv);
  const all = (name: OptionName) => {
    const letter = name === 'object' ? undefined : OPTIONS[name][0];
    return [...args.all(name), ...(letter === undefined ? [] : args.all(letter))];
  };
  const get = (name: OptionName) => all(name).at(-1);
  return {
    names: args.names,
    has: (name) => all(name).length > 0,
    get,
    all,
    choice(name, allowed) {
      const text = get(name);
      if (text === undefined) return allowed[0];
      const found = allowed.find((candidate) => candidate === text);
      if (found === undefined)
        throw new UserError(`Invalid ${name} mode '${text}': it is one of ${allowed.join(', ')}`);
      return found;
    },
    number(name, from, to, otherwise) {
      const text = get(name);
      if (text === undefined) return otherwise;
      const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
      if (value >= from && value <= to) return value;
      throw new UserError(`Invalid ${name} '${text}': it is a number from ${from} to ${to}`);
    },
  };
}

/** Where to listen, or which server to list. */
export function endpointOf(args: NbdArguments, defaultAddress: string, defaultPort: number): HostEndpoint {
  const path = args.get('socket');
  if (path !== undefined) {
    if (args.has('port') || args.has('bind'))
      throw new UserError('Unix socket can not be combined with a port or address');
    if (path.length > 107) throw new UserError(`the socket's path '${path}' is longer than 107 bytes`);
    return { kind: 'unix', path };
  }
  const port = args.number('port', 0, 65535, defaultPort);
  return { kind: 'inet', address: args.get('bind') ?? defaultAddress, port };
}
