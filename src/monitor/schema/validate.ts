/** Checks what a client sent against its schema type, with QEMU's words for what is wrong. */
import type { BuiltinName, ObjectType, Type } from './types.ts';

/** What is wrong with an argument; the message is QEMU's, which clients look at. */
export class ArgumentError extends Error {
  override name = 'ArgumentError';
}

interface IntegerRange {
  readonly min: bigint;
  readonly max: bigint;
}

const signed = (bits: bigint): IntegerRange => ({ min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n });
const unsigned = (bits: bigint): IntegerRange => ({ min: 0n, max: (1n << bits) - 1n });

const INTEGERS: Partial<Record<BuiltinName, IntegerRange>> = {
  int: signed(64n),
  int8: signed(8n),
  int16: signed(16n),
  int32: signed(32n),
  int64: signed(64n),
  uint8: unsigned(8n),
  uint16: unsigned(16n),
  uint32: unsigned(32n),
  uint64: unsigned(64n),
  size: unsigned(64n),
};

/** What a JSON value is, as QEMU's messages call it. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'bigint') return 'integer';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function wrongType(path: string, expected: string): ArgumentError {
  return new ArgumentError(`Invalid parameter type for '${path === '' ? 'null' : path}', expected: ${expected}`);
}

/** @throws ArgumentError that names the parameter */
export function checkValue(type: Type, value: unknown, path = ''): void {
  switch (type.kind) {
    case 'builtin':
      checkBuiltin(type.name, value, path);
      return;
    case 'enum':
      if (typeof value !== 'string') throw wrongType(path, 'string');
      if (!type.values.includes(value)) {
        throw new ArgumentError(`Parameter '${path}' does not accept value '${value.slice(0, 100)}'`);
      }
      return;
    case 'array':
      if (!Array.isArray(value)) throw wrongType(path, 'array');
      for (const [index, element] of value.entries()) checkValue(type.element, element, `${path}[${index}]`);
      return;
    case 'object':
      checkObject(type, value, path);
      return;
    case 'alternate':
      checkAlternate(type.choices, value, path);
      return;
  }
}

function checkBuiltin(name: BuiltinName, value: unknown, path: string): void {
  const range = INTEGERS[name];
  if (range !== undefined) {
    if (kindOf(value) !== 'integer') throw wrongType(path, 'integer');
    const exact = BigInt(value as number | bigint);
    if (exact < range.min || exact > range.max) {
      throw name === 'int' || name === 'int64' || name === 'uint64' || name === 'size'
        ? wrongType(path, 'integer')
        : new ArgumentError(`Parameter '${path}' expects ${name}_t`);
    }
    return;
  }
  const kind = kindOf(value);
  switch (name) {
    case 'str':
      if (kind !== 'string') throw wrongType(path, 'string');
      return;
    case 'bool':
      if (kind !== 'boolean') throw wrongType(path, 'boolean');
      return;
    case 'number':
      if (kind !== 'number' && kind !== 'integer') throw wrongType(path, 'number');
      return;
    case 'null':
      if (kind !== 'null') throw wrongType(path, 'null');
      return;
    default:
      if (value === undefined) throw new ArgumentError(`Parameter '${path}' is missing`);
  }
}

function checkObject(type: ObjectType, value: unknown, path: string): void {
  if (kindOf(value) !== 'object') throw wrongType(path, 'object');
  const given = value as Readonly<Record<string, unknown>>;
  const at = (name: string) => (path === '' ? name : `${path}.${name}`);
  const known = new Set<string>();
  for (let object: ObjectType | undefined = type; object !== undefined; object = variantOf(object, given)) {
    for (const [name, member] of Object.entries(object.members)) {
      known.add(name);
      if (Object.hasOwn(given, name)) checkValue(member.type, given[name], at(name));
      else if (!member.optional) throw new ArgumentError(`Parameter '${at(name)}' is missing`);
    }
  }
  if (type.open) return;
  for (const name of Object.keys(given)) {
    if (!known.has(name)) throw new ArgumentError(`Parameter '${at(name).slice(0, 200)}' is unexpected`);
  }
}

/** What the tag's value adds; its own members were checked before. */
function variantOf({ variants }: ObjectType, given: Readonly<Record<string, unknown>>): ObjectType | undefined {
  if (variants === undefined) return undefined;
  const chosen = given[variants.tag];
  return typeof chosen === 'string' && Object.hasOwn(variants.cases, chosen) ? variants.cases[chosen] : undefined;
}

/** Alternates are told apart by the JSON kind alone. */
function checkAlternate(choices: readonly Type[], value: unknown, path: string): void {
  const kind = kindOf(value);
  const choice = choices.find((one) => kinds(one).includes(kind));
  if (choice === undefined) throw wrongType(path, choices.flatMap(kinds).join(' or '));
  checkValue(choice, value, path);
}

function kinds(type: Type): readonly string[] {
  if (type.kind !== 'builtin') return [type.kind === 'enum' ? 'string' : type.kind];
  if (INTEGERS[type.name] !== undefined) return ['integer'];
  const name = { str: 'string', bool: 'boolean', number: 'number', null: 'null' }[type.name as string];
  return name === undefined ? ['string', 'boolean', 'number', 'integer', 'null', 'array', 'object'] : [name];
}
