/** Names of images: plain ones, `json:{…}` and `driver=…`, as options with dotted keys. */
import { UserError } from '../../base/index.ts';
import { type DriverOptions, parseKeyValues } from './options.ts';
import { PROTOCOLS } from './registry.ts';

/** @throws UserError for JSON that is none */
export function parseImageName(name: string, imageOpts = false): DriverOptions {
  if (imageOpts) return parseKeyValues(name);
  if (name.startsWith('json:')) return flatten(parseJson(name.slice('json:'.length)));
  for (const { parse, name: driver } of PROTOCOLS) {
    const found = parse?.(name);
    if (found !== undefined) return below('file', new Map([['driver', driver], ...found]));
  }
  const filename = name.startsWith('file:') ? name.slice('file:'.length) : name;
  return new Map([
    ['file.driver', 'file'],
    ['file.filename', filename],
  ]);
}

/** True for a name that says how to reach the image instead of which file it is. */
export function isProtocolName(name: string): boolean {
  return PROTOCOLS.some(({ parse }) => parse?.(name) !== undefined);
}

/** Makes the image that a name of a protocol leads to; false where such images cannot be made, only used. */
export async function createByProtocol(name: string, sizeBytes: number): Promise<boolean> {
  for (const { parse, create } of PROTOCOLS) {
    const options = create && parse?.(name);
    if (options === undefined) continue;
    await create!(options, sizeBytes);
    return true;
  }
  return false;
}

function below(child: string, options: DriverOptions): DriverOptions {
  return new Map([...options].map(([key, value]) => [`${child}.${key}`, value]));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UserError(`json:${text}: not valid JSON`);
  }
}

const DEPTH_MAX = 64;

/** A tree as dotted keys. `null` is an empty text: `"backing": null` means none. */
function flatten(value: unknown, prefix = '', depth = 0): DriverOptions {
  if (depth > DEPTH_MAX) throw new UserError('json: the options are nested too deeply');
  const entries: [string, string][] = [];
  for (const [key, item] of Object.entries(value ?? {})) {
    if (item === null) entries.push([`${prefix}${key}`, '']);
    else if (typeof item === 'object') entries.push(...flatten(item, `${prefix}${key}.`, depth + 1));
    else if (typeof item === 'boolean') entries.push([`${prefix}${key}`, item ? 'on' : 'off']);
    else entries.push([`${prefix}${key}`, String(item)]);
  }
  return new Map(entries);
}
