/**
 * Device records as JSON text. What JSON lacks is an object of one field whose
 * name begins with a dollar sign: `{"$u64": "18446744073709551615"}` for a bigint,
 * `{"$bytes": "00ff…"}` for bytes. No field of a record may begin so.
 */
import { UserError } from '../base/index.ts';
import type { DeviceRecord, DeviceValue } from '../contract/index.ts';

/** Deeper records are refused: no device comes near. */
const DEPTH_MAX = 32;

export function recordToText(record: DeviceRecord): string {
  return JSON.stringify(toJson(record, '', 0));
}

/** @throws UserError when the text is not such a record */
export function recordFromText(text: string): DeviceRecord {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new UserError('the snapshot is damaged: its state is not JSON');
  }
  const value = fromJson(parsed, 'state', 0);
  if (!isRecord(value)) throw wrong('state', 'a record');
  return value;
}

/** The state of one device, and of which version of its record that is. */
export interface DeviceSection {
  readonly name: string;
  readonly version: number;
  readonly record: DeviceRecord;
}

export function deviceToText({ name, version, record }: DeviceSection): string {
  return recordToText({ name, version, record });
}

/** @throws UserError when the text is not such a section */
export function deviceFromText(text: string): DeviceSection {
  const { name, version, record, ...rest } = recordFromText(text);
  if (typeof name !== 'string' || name === '') throw wrong('the name of a device', 'text');
  if (typeof version !== 'number') throw wrong(`the version of ${name}`, 'a number');
  if (record === undefined || !isRecord(record)) throw wrong(`the state of ${name}`, 'a record');
  if (Object.keys(rest).length > 0) throw wrong(`the section of ${name}`, 'name, version and record');
  return { name, version, record };
}

function toJson(value: DeviceValue, path: string, depth: number): unknown {
  if (depth > DEPTH_MAX) throw wrong(path, `at most ${DEPTH_MAX} levels deep`);
  if (typeof value === 'bigint') return { $u64: value.toString() };
  if (value instanceof Uint8Array) return { $bytes: toHex(value) };
  if (Array.isArray(value)) return value.map((item, index) => toJson(item, `${path}[${index}]`, depth + 1));
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).map(([name, field]) => {
    if (name.startsWith('$')) throw wrong(`${path}.${name}`, 'without a dollar sign in its name');
    return [name, toJson(field, `${path}.${name}`, depth + 1)];
  });
  return Object.fromEntries(entries);
}

function fromJson(value: unknown, path: string, depth: number): DeviceValue {
  if (depth > DEPTH_MAX) throw wrong(path, `at most ${DEPTH_MAX} levels deep`);
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map((item, index) => fromJson(item, `${path}[${index}]`, depth + 1));
  if (typeof value !== 'object' || value === null) throw wrong(path, 'a number, text, a list or a record');
  const entries = Object.entries(value);
  if (entries.length === 1 && entries[0][0].startsWith('$')) return special(entries[0][0], entries[0][1], path);
  const fields: Record<string, DeviceValue> = Object.create(null) as Record<string, DeviceValue>;
  for (const [name, field] of entries) {
    if (name.startsWith('$')) throw wrong(`${path}.${name}`, 'alone in its object');
    fields[name] = fromJson(field, `${path}.${name}`, depth + 1);
  }
  return fields;
}

function special(name: string, text: unknown, path: string): DeviceValue {
  if (typeof text === 'string') {
    if (name === '$u64' && /^\d{1,20}$/.test(text)) return BigInt(text);
    if (name === '$bytes' && text.length % 2 === 0 && /^[\da-f]*$/.test(text)) return fromHex(text);
  }
  throw wrong(path, 'a bigint or bytes');
}

const DIGITS = '0123456789abcdef';

function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += DIGITS[byte >> 4] + DIGITS[byte & 15];
  return text;
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

function isRecord(value: DeviceValue): value is DeviceRecord {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array);
}

function wrong(path: string, expected: string): UserError {
  return new UserError(`the snapshot is damaged: ${path} must be ${expected}`);
}
