/** vireo-img create, and making the target of other commands. */
import { UserError } from '../../base/index.ts';
import { alignUp } from '../../block/core.ts';
import { createByProtocol, isProtocolName } from '../drivers/names.ts';
import { type Objects, parseObjects } from '../drivers/objects.ts';
import { type Arguments, parseArguments, parseBytes, parseKeyValues } from './arguments.ts';
import { type CreateValues, creatorFor } from './creators.ts';
import { filenameOf, formatDriverNamed, openImage, resolveName } from './images.ts';

/** Joins the `-o` options of a command line, `-b` and `-F` as they are meant. */
export function createValues(args: Arguments, backingLetter: 'b' | 'B'): CreateValues {
  const values: CreateValues = new Map();
  for (const text of args.all('o')) for (const [key, value] of parseKeyValues(text)) values.set(key, value);
  const backing = args.get(backingLetter);
  if (backing !== undefined) values.set('backing_file', backing);
  const backingFormat = args.get('F');
  if (backingFormat !== undefined) values.set('backing_fmt', backingFormat);
  return values;
}

/** Refuses options that the format does not have. */
export async function checkCreateValues(formatName: string, values: CreateValues): Promise<void> {
  const { createOptions } = await formatDriverNamed(formatName).load();
  for (const key of values.keys()) {
    if (!createOptions.some(({ name }) => name === key)) throw new UserError(`Invalid parameter '${key}'`);
  }
}

/** Makes an image file. What was there before is replaced. */
export async function createImage(
  path: string,
  formatName: string,
  values: CreateValues,
  sizeBytes: number,
  objects: Objects = parseObjects([]),
): Promise<void> {
  await checkCreateValues(formatName, values);
  const creator = await creatorFor(formatName);
  if (!isProtocolName(path)) return creator.create(path, values, sizeBytes, objects);
  if (formatName !== 'raw' && creator.format === undefined) {
    throw new UserError(`${path}: only raw and qcow2 can be created there; ${formatName} works with -n`);
  }
  const isMade = await createByProtocol(path, formatName === 'raw' ? sizeBytes : 0);
  if (formatName === 'raw') return isMade ? undefined : useExport(path, sizeBytes, objects);
  const { node } = await openImage(path, { format: 'raw', writable: true, objects });
  try {
    await creator.format!(node, values, sizeBytes, objects);
  } finally {
    await node.close();
  }
}

/** An export cannot be made, but one that is there and large enough can be used. */
async function useExport(name: string, sizeBytes: number, objects: Objects): Promise<void> {
  const image = await openImage(name, { format: 'raw', writable: true, objects });
  const found = image.node.sizeBytes;
  await image.node.close();
  if (found < sizeBytes) throw new UserError(`${name}: the export has ${found} bytes, and ${sizeBytes} are needed`);
}

/** The list that `-o help` prints. */
export async function optionsHelp(formatName: string): Promise<string> {
  const { createOptions } = await formatDriverNamed(formatName).load();
  const rows = createOptions.map(({ name, help }) => `  ${name.padEnd(21)} - ${help}\n`);
  return `Supported options:\n${rows.join('')}`;
}

export async function createCommand(argv: readonly string[]): Promise<number> {
  const args = parseArguments({ f: 'value', b: 'value', F: 'value', u: 'flag', o: 'list', q: 'flag' }, argv);
  const formatName = args.get('f') ?? 'raw';
  formatDriverNamed(formatName);
  if (args.all('o').some((text) => text === 'help' || text === '?')) {
    process.stdout.write(await optionsHelp(formatName));
    return 0;
  }
  const [name, sizeText, extra] = args.names;
  if (name === undefined) throw new UserError('Expecting image file name');
  if (extra !== undefined) throw new UserError(`Unexpected argument: ${extra}`);
  const path = filenameOf(name);
  const values = createValues(args, 'b');
  const givenSize = sizeText ?? values.get('size');
  values.delete('size');
  await checkCreateValues(formatName, values);
  const sizeBytes = await sizeFor(path, givenSize, values, args.has('u'));
  const { describe } = await creatorFor(formatName);
  if (!args.has('q')) process.stdout.write(`Formatting '${path}', fmt=${formatName} ${describe(values, sizeBytes)}\n`);
  await createImage(path, formatName, values, sizeBytes, parseObjects(args.all('object')));
  return 0;
}

/** The size given, else the backing file's. */
async function sizeFor(
  path: string,
  given: string | undefined,
  values: CreateValues,
  isUnchecked: boolean,
): Promise<number> {
  const backing = values.get('backing_file');
  let backingSize: number | undefined;
  if (backing && !isUnchecked) {
    const format = values.get('backing_fmt');
    if (format === undefined) {
      throw new UserError(`${path}: Backing file specified without backing format`);
    }
    const image = await openImage(resolveName(path, backing), { format });
    backingSize = image.node.sizeBytes;
    await image.node.close();
  }
  if (given !== undefined) return alignUp(parseBytes(given), 512);
  if (backingSize === undefined) throw new UserError(`${path}: Image creation needs a size parameter`);
  return backingSize;
}
