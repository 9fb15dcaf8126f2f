/** `key=value,key=value` as QEMU's options are written: a comma in a value is doubled, the first key may be left out. */
import { UserError } from '../../base/index.ts';
import { parseJson } from '../json/parse.ts';
import { parseBytes, parseNumber, parseSwitch } from './values.ts';

export interface ParamSpec {
  readonly type: 'string' | 'boolean' | 'number' | 'size';
  readonly help?: string;
  /** What digits alone mean in a size. */
  readonly unit?: string;
}
export type ParamTable = Readonly<Record<string, ParamSpec>>;

/** Parameters in the order in which they were given; a key may come several times. */
export type Params = readonly (readonly [key: string, value: string])[];

/** @param implied The key of a first value without one. */
export function parseParams(text: string, implied?: string): Params {
  const params: [string, string][] = [];
  for (const [index, part] of splitCommas(text).entries()) {
    const at = part.indexOf('=');
    if (at >= 0) params.push([part.slice(0, at), part.slice(at + 1)]);
    else if (index === 0 && implied !== undefined) params.push([implied, part]);
    else if (part.startsWith('no')) params.push([part.slice(2), 'off']);
    else if (part !== '') params.push([part, 'on']);
  }
  return params;
}

/** The parts between commas; two commas in a row are one inside a part. */
export function splitCommas(text: string): string[] {
  const parts = [''];
  for (const [piece] of text.matchAll(/,,|,|[^,]+/g)) {
    if (piece === ',') parts.push('');
    else parts[parts.length - 1] += piece === ',,' ? ',' : piece;
  }
  return parts;
}

/** Reads parameters by name, of the last one of each name, as QEMU does; knows what nobody asked for. */
export class ParamReader {
  readonly #params: Params;
  readonly #used = new Set<string>();

  constructor(params: Params) {
    this.#params = params;
  }

  has(name: string): boolean {
    return this.#params.some(([key]) => key === name);
  }

  text(name: string): string | undefined {
    this.#used.add(name);
    return this.#params.findLast(([key]) => key === name)?.[1];
  }

  all(name: string): string[] {
    this.#used.add(name);
    return this.#params.filter(([key]) => key === name).map(([, value]) => value);
  }

  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new UserError(`Parameter '${name}' is missing`);
    return value;
  }

  switch(name: string): boolean | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : parseSwitch(name, value);
  }

  number(name: string): number | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : parseNumber(name, value);
  }

  bytes(name: string, unit?: string): number | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : parseBytes(name, value, unit);
  }

  oneOf<const Choice extends string>(name: string, choices: readonly Choice[]): Choice | undefined {
    const value = this.text(name);
    const choice = choices.find((one) => one === value);
    if (value !== undefined && choice === undefined) {
      throw new UserError(`Parameter '${name}' does not accept value '${value}': it takes ${choices.join(', ')}`);
    }
    return choice;
  }

  /** Says that a parameter, if it is given, has one of these values; others are not supported. */
  accept(name: string, ...values: readonly string[]): void {
    for (const value of this.all(name)) {
      if (!values.includes(value)) {
        throw new UserError(
          `${name}=${value} is not supported, only ${values.map((one) => `${name}=${one}`).join(', ')}`,
        );
      }
    }
  }

  /** Parameters that say nothing that could matter here. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#used.add(name);
  }

  /** Throws UserError when a parameter was given that nobody asked for. */
  finish(): void {
    const unknown = this.#params.find(([key]) => !this.#used.has(key));
    if (unknown !== undefined) throw new UserError(`Invalid parameter '${unknown[0]}'`);
  }
}

/** Checks the values of parameters against a table; unlisted names are refused. */
export function checkParams(params: Params, table: ParamTable): void {
  for (const [name, value] of params) {
    const spec = Object.hasOwn(table, name) ? table[name] : undefined;
    if (spec === undefined) throw new UserError(`Invalid parameter '${name}'`);
    if (spec.type === 'boolean') parseSwitch(name, value);
    else if (spec.type === 'number') parseNumber(name, value);
    else if (spec.type === 'size') parseBytes(name, value, spec.unit);
  }
}

/** JSON on the command line as parameters: nested members become dotted keys. */
export function paramsOfJson(text: string): Params {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UserError('expected a JSON object');
  return flatten(value, '');
}

function flatten(value: object, prefix: string): [string, string][] {
  return Object.entries(value).flatMap(([key, member]): [string, string][] => {
    const name = `${prefix}${key}`;
    if (typeof member === 'object' && member !== null) return flatten(member, `${name}.`);
    if (typeof member === 'boolean') return [[name, member ? 'on' : 'off']];
    return [[name, member === null ? '' : String(member)]];
  });
}
