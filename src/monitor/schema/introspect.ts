/** query-qmp-schema's answer: the tables as data, types named by numbers in the order in which they are met. */
import type { Members, ObjectType, Schema, Type } from './types.ts';

/** One entry, with QEMU's member names. */
export type SchemaInfo = Readonly<Record<string, unknown>> & { readonly name: string; readonly 'meta-type': string };

const JSON_TYPES: Readonly<Record<string, string>> = {
  str: 'string',
  bool: 'boolean',
  number: 'number',
  null: 'null',
  any: 'value',
};

export function introspect({ commands, events }: Schema): SchemaInfo[] {
  const found: SchemaInfo[] = [];
  const names = new Map<string, string>();
  /** Two types are one when they are the same table entry or share its name. */
  const keyOf = (type: Type): string => {
    if (type.kind === 'builtin') return `builtin ${jsonTypeOf(type.name)}`;
    if (type.kind === 'array') return `array of ${keyOf(type.element)}`;
    return `${type.kind} ${type.name}`;
  };
  const nameOf = (type: Type): string => {
    if (type.kind === 'builtin') {
      const name = jsonTypeOf(type.name);
      if (!names.has(name)) {
        names.set(name, name);
        found.push({ 'meta-type': 'builtin', name, 'json-type': name });
      }
      return name;
    }
    const anonymous = type.kind === 'object' && type.name === '' && Object.keys(type.members).length > 0;
    const key = type.kind === 'object' && Object.keys(type.members).length === 0 ? 'object empty' : keyOf(type);
    const known = anonymous ? undefined : names.get(key);
    if (known !== undefined) return known;
    const name = type.kind === 'array' ? `[${nameOf(type.element)}]` : `${names.size}`;
    names.set(anonymous ? `anonymous ${names.size}` : key, name);
    found.push({ name, ...entryOf(type, nameOf) });
    return name;
  };
  for (const [name, { args, returns, features, outOfBand }] of Object.entries(commands)) {
    found.push({
      'meta-type': 'command',
      name,
      'arg-type': nameOf(args),
      'ret-type': nameOf(returns),
      ...(features === undefined ? {} : { features }),
      ...(outOfBand === undefined ? {} : { 'allow-oob': true }),
    });
  }
  for (const [name, { data }] of Object.entries(events)) {
    found.push({ 'meta-type': 'event', name, 'arg-type': nameOf(data) });
  }
  return found;
}

function jsonTypeOf(builtin: string): string {
  return JSON_TYPES[builtin] ?? 'int';
}

type Entry = Readonly<Record<string, unknown>> & { readonly 'meta-type': string };

function entryOf(type: Exclude<Type, { kind: 'builtin' }>, nameOf: (type: Type) => string): Entry {
  switch (type.kind) {
    case 'enum':
      return { 'meta-type': 'enum', members: type.values.map((name) => ({ name })), values: type.values };
    case 'array':
      return { 'meta-type': 'array', 'element-type': nameOf(type.element) };
    case 'alternate':
      return { 'meta-type': 'alternate', members: type.choices.map((choice) => ({ type: nameOf(choice) })) };
    case 'object':
      return { 'meta-type': 'object', members: membersOf(type.members, nameOf), ...variantsOf(type, nameOf) };
  }
}

function membersOf(members: Members, nameOf: (type: Type) => string): unknown[] {
  return Object.entries(members).map(([name, { type, optional, features }]) => ({
    name,
    type: nameOf(type),
    ...(optional ? { default: null } : {}),
    ...(features === undefined ? {} : { features }),
  }));
}

/** Every value of the tag has an entry; those that add nothing add the empty object. */
function variantsOf({ members, variants }: ObjectType, nameOf: (type: Type) => string) {
  if (variants === undefined) return {};
  const tag = members[variants.tag].type;
  const values = tag.kind === 'enum' ? tag.values : Object.keys(variants.cases);
  const none: ObjectType = { kind: 'object', name: 'q_empty', members: {} };
  return {
    tag: variants.tag,
    variants: values.map((value) => ({ case: value, type: nameOf(variants.cases[value] ?? none) })),
  };
}
