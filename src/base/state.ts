/**
 * Device state as a table: each field has a codec with its legal values and
 * its power-up value. Power-up, saving and restoring all come from the table,
 * and the state's type is inferred from it.
 */
import { StateError } from './errors.ts';

/** Plain data, as in the contract's `DeviceValue`. */
export type StateValue =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | readonly StateValue[]
  | { readonly [field: string]: StateValue };
export type StateRecord = { readonly [field: string]: StateValue };

export interface StateCodec<T> {
  /** A fresh power-up value. */
  initial(): T;
  save(value: T): StateValue;
  /** Throws a StateError at `path` unless `value` is one that the device could have saved. */
  load(value: unknown, path: string): T;
}

export type StateFields = { readonly [field: string]: StateCodec<unknown> };
export type FieldsState<F extends StateFields> = {
  -readonly [K in keyof F]: F[K] extends StateCodec<infer T> ? T : never;
};

/** A table of fields; itself a codec, so tables nest. */
export interface StateTable<T> extends StateCodec<T> {
  save(state: T): StateRecord;
  load(record: unknown, path?: string): T;
}

/** The state type that a table describes. */
export type StateOf<C> = C extends StateCodec<infer T> ? T : never;

export function stateTable<F extends StateFields>(fields: F): StateTable<FieldsState<F>> {
  const entries = Object.entries(fields);
  type State = FieldsState<F>;
  return {
    initial: () => Object.fromEntries(entries.map(([name, codec]) => [name, codec.initial()])) as State,
    save: (state) => Object.fromEntries(entries.map(([name, codec]) => [name, codec.save(state[name])])),
    load(record, path = '') {
      if (!isRecord(record)) throw new StateError(path || '(record)', 'a record', record);
      const prefix = path === '' ? '' : `${path}.`;
      for (const name of Object.keys(record)) {
        if (!Object.hasOwn(fields, name)) throw new StateError(prefix + name, 'absent', record[name]);
      }
      return Object.fromEntries(
        entries.map(([name, codec]) => [name, codec.load(record[name], prefix + name)]),
      ) as State;
    },
  };
}

function isRecord(value: unknown): value is { readonly [field: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** An integer from `min` to `max`. */
export function int(min: number, max: number, initial: number): StateCodec<number> {
  return scalar(initial, `an integer from ${min} to ${max}`, (v) => Number.isInteger(v) && v >= min && v <= max);
}

export function u8(initial = 0): StateCodec<number> {
  return int(0, 0xff, initial);
}

export function u16(initial = 0): StateCodec<number> {
  return int(0, 0xffff, initial);
}

export function u32(initial = 0): StateCodec<number> {
  return int(0, 0xffff_ffff, initial);
}

/** A time in nanoseconds, whole or fractional; it may lie before the machine's start. */
export function nanos(initial = 0): StateCodec<number> {
  return scalar(initial, 'a time in nanoseconds', (v) => Math.abs(v) <= Number.MAX_SAFE_INTEGER);
}

/** A 64-bit unsigned integer. */
export function u64(initial = 0n): StateCodec<bigint> {
  return scalar(initial, 'a 64-bit unsigned bigint', (v) => v >= 0n && v < 1n << 64n);
}

export function bool(initial = false): StateCodec<boolean> {
  return scalar(initial, 'true or false', () => true);
}

/** One of a closed set of words; the first is the power-up value. */
export function oneOf<const T extends string>(...words: readonly [T, ...T[]]): StateCodec<T> {
  return scalar<string>(words[0], `one of ${words.join(', ')}`, (v) => words.includes(v as T)) as StateCodec<T>;
}

/** A value that may be absent, which is its power-up value; saved as a list of none or one. */
export function optional<T>(codec: StateCodec<T>): StateCodec<T | undefined> {
  return {
    initial: () => undefined,
    save: (value) => (value === undefined ? [] : [codec.save(value)]),
    load(value, path) {
      if (!Array.isArray(value) || value.length > 1) throw new StateError(path, 'a list of none or one', value);
      return value.length === 0 ? undefined : codec.load(value[0], path);
    },
  };
}

/** A field that a device's older records do not have: it has its power-up value then. */
export function added<T>(codec: StateCodec<T>): StateCodec<T> {
  return { ...codec, load: (value, path) => (value === undefined ? codec.initial() : codec.load(value, path)) };
}

/** Exactly `length` values of one kind. */
export function array<T>(length: number, codec: StateCodec<T>): StateCodec<T[]> {
  return sequence(codec, `a list of ${length}`, (n) => n === length, length);
}

/** At most `max` values of one kind; empty at power-up. */
export function list<T>(max: number, codec: StateCodec<T>): StateCodec<T[]> {
  return sequence(codec, `a list of at most ${max}`, (n) => n <= max, 0);
}

/** Exactly `length` bytes, zero at power-up unless given. */
export function bytes(length: number, initial?: Uint8Array): StateCodec<Uint8Array> {
  return {
    initial: () => initial?.slice() ?? new Uint8Array(length),
    save: (value) => value.slice(),
    load(value, path) {
      if (!(value instanceof Uint8Array) || value.length !== length)
        throw new StateError(path, `${length} bytes`, value);
      return value.slice();
    },
  };
}

/** At most `max` bytes; none at power-up. */
export function blob(max: number): StateCodec<Uint8Array> {
  return {
    initial: () => new Uint8Array(0),
    save: (value) => value.slice(),
    load(value, path) {
      if (!(value instanceof Uint8Array) || value.length > max)
        throw new StateError(path, `at most ${max} bytes`, value);
      return value.slice();
    },
  };
}

function scalar<T extends number | bigint | boolean | string>(
  initial: T,
  expected: string,
  legal: (value: T) => boolean,
): StateCodec<T> {
  return {
    initial: () => initial,
    save: (value) => value,
    load(value, path) {
      if (typeof value !== typeof initial || !legal(value as T)) throw new StateError(path, expected, value);
      return value as T;
    },
  };
}

function sequence<T>(
  codec: StateCodec<T>,
  expected: string,
  fits: (length: number) => boolean,
  initialLength: number,
): StateCodec<T[]> {
  return {
    initial: () => Array.from({ length: initialLength }, () => codec.initial()),
    save: (values) => values.map((value) => codec.save(value)),
    load(value, path) {
      if (!Array.isArray(value) || !fits(value.length)) throw new StateError(path, expected, value);
      return value.map((element, i) => codec.load(element, `${path}[${i}]`));
    },
  };
}
