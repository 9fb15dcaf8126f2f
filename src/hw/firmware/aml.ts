/**
 * A writer of ACPI Machine Language: each function encodes one term of the
 * grammar in ACPI 6.4, chapter 20.2, and returns its bytes. Only the terms
 * that our DSDT uses are here.
 */

import { ascii, littleEndian } from './bytes.ts';

/** Encoded AML. */
export type Aml = readonly number[];

const OP = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  byte: 0x0a,
  word: 0x0b,
  dword: 0x0c,
  string: 0x0d,
  qword: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  local0: 0x60,
  arg0: 0x68,
  notify: 0x86,
  store: 0x70,
  and: 0x7b,
  or: 0x7d,
  createDwordField: 0x8a,
  not: 0x92,
  equal: 0x93,
  if: 0xa0,
  else: 0xa1,
  return: 0xa4,
  extended: 0x5b,
} as const;
const SERIALIZED = 0x08;
const EXTENDED = { region: 0x80, field: 0x81, device: 0x82 } as const;
const EXTENDED_DEVICE = EXTENDED.device;
const SYSTEM_IO = 0x01;
/** Field access by dwords, unnamed bits written as zeros, no lock. */
const DWORDS_ZEROED = 0x43;
const NO_TARGET = 0x00;

/** An integer constant in its shortest form (20.2.3). */
export function integer(value: number): Aml {
  if (value === 0) return [OP.zero];
  if (value === 1) return [OP.one];
  if (value <= 0xff) return [OP.byte, ...littleEndian(value, 1)];
  if (value <= 0xffff) return [OP.word, ...littleEndian(value, 2)];
  if (value <= 0xffff_ffff) return [OP.dword, ...littleEndian(value, 4)];
  return [OP.qword, ...littleEndian(value, 8)];
}

/** An ASCII string constant. */
export function string(text: string): Aml {
  return [OP.string, ...ascii(text), 0];
}

/**
 * A compressed EISA identifier such as 'PNP0A08', as _HID and _CID take it
 * (ACPI 6.4, 19.3.4): three letters of 5 bits, four hexadecimal digits, stored big-endian.
 */
export function eisaId(id: string): Aml {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(id)) throw new RangeError(`${id} is not an EISA identifier`);
  const [a, b, c] = ascii(id).map((code) => code - 0x40);
  const vendor = (a << 10) | (b << 5) | c;
  const product = Number.parseInt(id.slice(3), 16);
  return [OP.dword, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
}

/** A name string (20.2.2): `SEGM`, `\SEGM`, or segments joined by dots; short segments are padded with `_`. */
export function nameString(path: string): Aml {
  const root = path.startsWith('\\');
  const segments = path
    .slice(root ? 1 : 0)
    .split('.')
    .map(nameSegment);
  const prefix: number[] = root ? [0x5c] : [];
  if (segments.length === 1) return [...prefix, ...segments[0]];
  if (segments.length === 2) return [...prefix, 0x2e, ...segments.flat()];
  return [...prefix, 0x2f, segments.length, ...segments.flat()];
}

function nameSegment(segment: string): Aml {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw new RangeError(`${segment} is not an AML name segment`);
  return ascii(segment.padEnd(4, '_'));
}

/** Name (path, object). */
export function name(path: string, value: Aml): Aml {
  return [OP.name, ...nameString(path), ...value];
}

/** Scope (path) { … }. */
export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return [OP.scope, ...withLength([...nameString(path), ...terms.flat()])];
}

/** Device (path) { … }. */
export function device(path: string, ...terms: readonly Aml[]): Aml {
  return [OP.extended, EXTENDED_DEVICE, ...withLength([...nameString(path), ...terms.flat()])];
}

/** Method (path, argumentCount, NotSerialized) { … }. */
export function method(path: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  return [OP.method, ...withLength([...nameString(path), argumentCount, ...terms.flat()])];
}

/** Method (path, argumentCount, Serialized) { … }: one that makes names of its own. */
export function serializedMethod(path: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  return method(path, argumentCount | SERIALIZED, ...terms);
}

/** Package () { … } of at most 255 elements. */
export function packageOf(...elements: readonly Aml[]): Aml {
  return [OP.package, ...withLength([...littleEndian(elements.length, 1), ...elements.flat()])];
}

/** Buffer () { bytes }. */
export function buffer(bytes: Aml): Aml {
  return [OP.buffer, ...withLength([...integer(bytes.length), ...bytes])];
}

/** If (predicate) { … }. */
export function ifThen(predicate: Aml, ...terms: readonly Aml[]): Aml {
  return [OP.if, ...withLength([...predicate, ...terms.flat()])];
}

/** Else { … }, right after an If. */
export function otherwise(...terms: readonly Aml[]): Aml {
  return [OP.else, ...withLength(terms.flat())];
}

/** LEqual (a, b). */
export function equal(a: Aml, b: Aml): Aml {
  return [OP.equal, ...a, ...b];
}

/** LNotEqual (a, b). */
export function notEqual(a: Aml, b: Aml): Aml {
  return [OP.not, ...equal(a, b)];
}

/** And (a, b, target). */
export function and(a: Aml, b: Aml, target: Aml = [NO_TARGET]): Aml {
  return [OP.and, ...a, ...b, ...target];
}

/** Or (a, b, target). */
export function or(a: Aml, b: Aml, target: Aml): Aml {
  return [OP.or, ...a, ...b, ...target];
}

/** CreateDWordField (buffer, byteIndex, name). */
export function createDwordField(source: Aml, byteIndex: number, path: string): Aml {
  return [OP.createDwordField, ...source, ...integer(byteIndex), ...nameString(path)];
}

/** LocalN of the running method. */
export function local(index: number): Aml {
  return [OP.local0 + index];
}

/** ToUUID (text): the first three groups are little-endian (19.6.142). */
export function uuid(text: string): Aml {
  const bytes =
    text
      .replaceAll('-', '')
      .match(/../g)
      ?.map((pair) => Number.parseInt(pair, 16)) ?? [];
  if (!/^[\dA-F]{8}(-[\dA-F]{4}){3}-[\dA-F]{12}$/i.test(text)) throw new RangeError(`${text} is not a UUID`);
  return buffer([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => bytes[at]));
}

/** Return (value). */
export function returnValue(value: Aml): Aml {
  return [OP.return, ...value];
}

/** Store (source, target). */
export function store(source: Aml, target: Aml): Aml {
  return [OP.store, ...source, ...target];
}

/** ArgN of the running method. */
export function arg(index: number): Aml {
  return [OP.arg0 + index];
}

/** Notify (object, value). */
export function notify(path: string, value: number): Aml {
  return [OP.notify, ...nameString(path), ...integer(value)];
}

/** OperationRegion (path, SystemIO, base, size) and its 32-bit fields one after the other. */
export function ioFields(path: string, base: number, ...fields: readonly string[]): Aml {
  const region = [
    OP.extended,
    EXTENDED.region,
    ...nameString(path),
    SYSTEM_IO,
    ...integer(base),
    ...integer(fields.length * 4),
  ];
  const rows = fields.flatMap((field) => [...nameSegment(field), 32]);
  return [...region, OP.extended, EXTENDED.field, ...withLength([...nameString(path), DWORDS_ZEROED, ...rows])];
}

/** The bytes before which a PkgLength (20.2.4) goes; the length counts itself. */
function withLength(body: Aml): Aml {
  const short = body.length + 1;
  if (short < 0x40) return [short, ...body];
  for (let extra = 1; extra <= 3; extra++) {
    const total = body.length + 1 + extra;
    if (total >= 2 ** (4 + 8 * extra)) continue;
    return [(extra << 6) | (total & 0xf), ...littleEndian(total >> 4, extra), ...body];
  }
  throw new RangeError('AML package too long');
}

/** Resource descriptors (ACPI 6.4, 6.4.2 and 6.4.3), to be gathered by `resources`. */
export const resource = {
  /** I/O ports at a fixed place, 16 bits decoded. */
  io: (base: number, count: number): Aml => [
    0x47,
    0x01,
    ...littleEndian(base, 2),
    ...littleEndian(base, 2),
    1,
    ...littleEndian(count, 1),
  ],
  /** One ISA interrupt: edge, active high, exclusive. */
  irq: (line: number): Aml => [0x22, ...littleEndian(1 << line, 2)],
  /** Memory at a fixed place below 4 GiB. */
  memory32Fixed: (base: number, size: number): Aml => [
    0x86,
    ...littleEndian(9, 2),
    1,
    ...littleEndian(base, 4),
    ...littleEndian(size, 4),
  ],
  /** The bus numbers that a host bridge owns. */
  busNumbers: (first: number, last: number): Aml => addressSpace(2, 2, 0, first, last),
  /** I/O ports that a host bridge passes on. */
  ioWindow: (first: number, last: number): Aml => addressSpace(2, 1, 0x03, first, last),
  /** Uncached memory below 4 GiB that a host bridge passes on. */
  memoryWindow32: (first: number, last: number): Aml => addressSpace(4, 0, 0x01, first, last),
  /** Uncached memory above 4 GiB that a host bridge passes on. */
  memoryWindow64: (first: number, last: number): Aml => addressSpace(8, 0, 0x01, first, last),
};

/** ResourceTemplate () { … } with its end tag; the tag's checksum byte 0 counts as right (6.4.2.9). */
export function resources(...descriptors: readonly Aml[]): Aml {
  return buffer([...descriptors.flat(), 0x79, 0]);
}

/**
 * Word, DWord or QWord address space descriptor (6.4.3.5) of a producer with fixed ends.
 * @param type 0 memory, 1 I/O, 2 bus numbers
 */
function addressSpace(fieldBytes: 2 | 4 | 8, type: number, typeFlags: number, first: number, last: number): Aml {
  const tag = { 2: 0x88, 4: 0x87, 8: 0x8a }[fieldBytes];
  const MIN_AND_MAX_FIXED = 0x0c;
  const fields = [0, first, last, 0, last - first + 1].flatMap((value) => littleEndian(value, fieldBytes));
  return [tag, ...littleEndian(3 + fields.length, 2), type, MIN_AND_MAX_FIXED, typeFlags, ...fields];
}
