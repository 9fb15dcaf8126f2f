/** -object: the same table as object-add, with values as text. */
import { UserError } from '../../base/index.ts';
import { objectOptions, objectTypes } from '../qapi/machine.ts';
import type { Members, Type } from '../schema/types.ts';
import { checkValue } from '../schema/validate.ts';
import type { ObjectConfig } from './config.ts';
import { ParamReader, type Params } from './opts.ts';
import { parseBytes, parseNumber, parseSwitch } from './values.ts';

/** @throws UserError that names the property */
export function readObject(params: Params): ObjectConfig {
  const reader = new ParamReader(params);
  const type = reader.required('qom-type');
  if (!objectTypes.values.includes(type)) {
    throw new UserError(
      `Parameter 'qom-type' does not accept value '${type}': there are ${objectTypes.values.join(', ')}`,
    );
  }
  const id = reader.required('id');
  const members = objectOptions.variants!.cases[type].members;
  const properties = Object.fromEntries(
    params
      .filter(([key]) => key !== 'qom-type' && key !== 'id')
      .map(([key, value]) => [key, readValue(members, key, value)]),
  );
  return objectOf({ 'qom-type': type, id, ...properties });
}

/** What object-add was given, checked. */
export function objectOf(value: Readonly<Record<string, unknown>>): ObjectConfig {
  try {
    checkValue(objectOptions, value);
  } catch (error) {
    throw new UserError((error as Error).message);
  }
  const { 'qom-type': type, id, ...properties } = value;
  return { type: String(type), id: String(id), properties };
}

function readValue(members: Members, key: string, text: string): unknown {
  if (!Object.hasOwn(members, key)) throw new UserError(`Parameter '${key}' is unexpected`);
  const { type }: { type: Type } = members[key];
  if (type.kind !== 'builtin') return text;
  switch (type.name) {
    case 'bool':
      return parseSwitch(key, text);
    case 'int':
      return parseNumber(key, text);
    case 'size':
      return parseBytes(key, text);
    default:
      return text;
  }
}
