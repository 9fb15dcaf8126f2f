/** From the words of a command line to options in order, parameters read and checked, files and -set and -global applied. */
import { UserError } from '../../base/index.ts';
import { checkParams, type Params, paramsOfJson, parseParams } from './opts.ts';
import { type OptionName, type OptionSpec, optionTable, REFUSED } from './table.ts';

export interface GivenOption {
  readonly name: OptionName;
  /** As it was written, for complaints: `-device virtio-blk`. */
  readonly written: string;
  readonly value: string;
  readonly params: Params;
}

export interface CommandLine {
  readonly options: readonly GivenOption[];
  /** DRIVER.PROPERTY of -global, in order. */
  readonly globals: readonly { readonly driver: string; readonly property: string; readonly value: string }[];
}

/** What is wrong with one option; the message begins with it, as QEMU's does. */
export function optionError(written: string, error: unknown): unknown {
  return error instanceof UserError ? new UserError(`${written}: ${error.message}`) : error;
}

/** Does the work of one option, and names the option in complaints. */
export function forOption<T>({ written }: { readonly written: string }, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw optionError(written, error);
  }
}

/**
 * @param readFile reads a file for -readconfig
 * @throws UserError that names the option
 */
export function parseCommandLine(args: readonly string[], readFile: (path: string) => string): CommandLine {
  const options: GivenOption[] = [];
  const globals: { driver: string; property: string; value: string }[] = [];
  for (let index = 0; index < args.length; index += 1) {
    const word = args[index];
    if (!word.startsWith('-') || word === '-') {
      options.push({ name: 'hda', written: word, value: word, params: [] });
      continue;
    }
    const name = nameOf(word);
    const spec = optionTable[name];
    const value = spec.value === undefined ? '' : args[++index];
    if (value === undefined) throw new UserError(`${word}: requires an argument`);
    const given = readOption(name, spec, word, value);
    forOption(given, () => {
      if (name === 'readconfig') options.push(...parseConfigFile(readFile(value), value));
      else if (name === 'set') applySet(options, value);
      else if (name === 'global') globals.push(parseGlobal(value));
      else options.push(given);
    });
  }
  return { options, globals };
}

function nameOf(word: string): OptionName {
  const bare = word.replace(/^--?/, '');
  const found = Object.entries(optionTable).find(([name, { aliases }]) => name === bare || aliases?.includes(bare));
  if (found !== undefined) return found[0] as OptionName;
  if (Object.hasOwn(REFUSED, bare)) throw new UserError(`${word}: not supported: ${REFUSED[bare].why}`);
  throw new UserError(`${word}: invalid option; -h lists the options that there are`);
}

/** Options whose parameters depend on what they say. */
const FREE_PARAMS: readonly OptionName[] = ['drive', 'smbios', 'acpitable'];

function readOption(name: OptionName, spec: OptionSpec, word: string, value: string): GivenOption {
  const written = `${word}${value === '' ? '' : ` ${value}`}`;
  return forOption({ written }, () => {
    const isJson = spec.json && value.startsWith('{');
    const hasParams = spec.params !== undefined || spec.implied !== undefined || FREE_PARAMS.includes(name);
    const params = isJson ? paramsOfJson(value) : hasParams ? parseParams(value, spec.implied) : [];
    if (spec.params !== undefined && !isHelp(params)) checkParams(params, spec.params);
    return { name, written, value, params };
  });
}

/** `help` or `?` among the parameters, as the first value or as a switch. */
export function isHelp(params: Params): boolean {
  return params.some(
    ([key, value], index) => key === 'help' || key === '?' || (index === 0 && (value === 'help' || value === '?')),
  );
}

/** `[group "id"]` and `key = "value"` lines (QEMU's configuration files). */
function parseConfigFile(text: string, path: string): GivenOption[] {
  const options: { name: OptionName; params: [string, string][]; written: string }[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const at = `${path}:${index + 1}`;
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const [, group, id] = /^\[\s*([\w-]+)(?:\s+"([^"]*)")?\s*\]$/.exec(trimmed) ?? [];
    const [, key, value] = /^([\w.-]+)\s*=\s*"([^"]*)"$/.exec(trimmed) ?? [];
    if (group !== undefined)
      options.push({ name: groupOption(group, at), params: idParam(id), written: `${at}: [${group}]` });
    else if (key !== undefined && options.length > 0) options.at(-1)!.params.push([key, value]);
    else throw new UserError(`${at}: expected [group "id"] or key = "value"`);
  }
  return options.map((option) =>
    forOption(option, () => {
      const { params } = optionTable[option.name];
      if (params !== undefined) checkParams(option.params, { ...params, id: { type: 'string' } });
      return { ...option, value: option.params.map(([key, value]) => `${key}=${value}`).join(',') };
    }),
  );
}

function idParam(id: string | undefined): [string, string][] {
  return id === undefined ? [] : [['id', id]];
}

function groupOption(group: string, at: string): OptionName {
  const found = Object.entries(optionTable).find(([name, { config, implied, params }]) => {
    return (config ?? name) === group && (implied !== undefined || params !== undefined || name === 'drive');
  });
  if (found === undefined) throw new UserError(`${at}: there is no group ${group}`);
  return found[0] as OptionName;
}

/** Changes a parameter of an option that was given before. */
function applySet(options: GivenOption[], text: string): void {
  const [, group, id, key, value] = /^([^.]+)\.([^.]+)\.([^=]+)=(.*)$/s.exec(text) ?? [];
  if (group === undefined) throw new UserError('expected GROUP.ID.PARAMETER=VALUE');
  const index = options.findIndex(({ name, params }) => {
    return (optionTable[name].config ?? name) === group && params.some(([k, v]) => k === 'id' && v === id);
  });
  if (index < 0) throw new UserError(`there is no ${group} "${id}" defined`);
  options[index] = { ...options[index], params: [...options[index].params, [key, value]] };
}

/** `DRIVER.PROPERTY=VALUE`, or driver, property and value as parameters. */
function parseGlobal(text: string): { driver: string; property: string; value: string } {
  const [, driver, property, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(text) ?? [];
  if (driver !== undefined) return { driver, property, value };
  const params = new Map(parseParams(text));
  const [d, p, v] = [params.get('driver'), params.get('property'), params.get('value')];
  if (d === undefined || p === undefined || v === undefined) throw new UserError('expected DRIVER.PROPERTY=VALUE');
  return { driver: d, property: p, value: v };
}
