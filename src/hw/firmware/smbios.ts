/** SMBIOS tables: what a machine says it is (DMTF DSP0134 3.0). They lie where a kernel without EFI looks for them. */
import { UserError } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import { ascii, u16, u32, u64, utf8 } from './bytes.ts';
import { LOW_MEMORY } from './layout.ts';
import { putBytes } from './load.ts';

type Texts = Readonly<Record<string, string>>;

export interface SmbiosOptions {
  /** What a person wants the structures of a type to say, by QEMU's names of their fields. */
  readonly fields?: Readonly<Record<number, Texts>>;
  /** Strings for the guest's own use (type 11). */
  readonly oemStrings?: readonly string[];
  /** The machine's UUID, as text. */
  readonly uuid?: string;
  /** Structures as they are, each whole. */
  readonly raw?: readonly Uint8Array[];
}

export interface SmbiosMachine {
  readonly product: string;
  readonly cpus: number;
  readonly memoryBytes: number;
}

const MANUFACTURER = 'Vireo';
const VERSION_TEXT = '1.0';
const STRUCTURES_MAX = 512;
const ENTRY_BYTES = 24;

/** Fields of each type that can be set; what they are called is QEMU's. */
export const SMBIOS_FIELDS: Readonly<Record<number, readonly string[]>> = {
  0: ['vendor', 'version', 'date', 'release', 'uefi'],
  1: ['manufacturer', 'product', 'version', 'serial', 'uuid', 'sku', 'family'],
  2: ['manufacturer', 'product', 'version', 'serial', 'asset', 'location'],
  3: ['manufacturer', 'version', 'serial', 'asset', 'sku'],
  4: ['sock_pfx', 'manufacturer', 'version', 'serial', 'asset', 'part', 'max-speed', 'current-speed'],
  11: ['value'],
  17: ['loc_pfx', 'bank', 'manufacturer', 'serial', 'asset', 'part', 'speed'],
};

/** Writes the tables into the area that is kept for them. @throws UserError when they do not fit */
export function putSmbios(memory: GuestMemory, options: SmbiosOptions, machine: SmbiosMachine): void {
  const { base, size } = LOW_MEMORY.smbios;
  const tables = smbiosStructures(options, machine);
  if (tables.length + ENTRY_BYTES + 8 > size) {
    throw new UserError(
      `the SMBIOS tables have ${tables.length} bytes, and there is room for ${size - ENTRY_BYTES - 8}`,
    );
  }
  const at = base + ENTRY_BYTES + 8;
  putBytes(memory, base, Uint8Array.from(entryPoint(at, tables.length)));
  putBytes(memory, at, tables);
}

/** 5.2.2: the 64-bit entry point. */
function entryPoint(address: number, length: number): number[] {
  const bytes = [...ascii('_SM3_'), 0, ENTRY_BYTES, 3, 0, 0, 1, 0, ...u32(length), ...u64(address)];
  bytes[5] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return bytes;
}

/** All structures, one after the other. */
export function smbiosStructures(options: SmbiosOptions, machine: SmbiosMachine): Uint8Array {
  const { fields = {}, oemStrings = [], raw = [], uuid } = options;
  const made = [
    bios(fields[0] ?? {}),
    system(fields[1] ?? {}, machine.product, uuid),
    ...(fields[2] === undefined ? [] : [board(fields[2])]),
    chassis(fields[3] ?? {}),
    ...Array.from({ length: Math.min(machine.cpus, 64) }, (_, index) => processor(fields[4] ?? {}, index)),
    ...(oemStrings.length === 0 ? [] : [oem(oemStrings)]),
    ...memoryStructures(fields[17] ?? {}, machine.memoryBytes),
    structure(32, 0x2000, [0, 0, 0, 0, 0, 0, 0], []),
  ];
  if (made.length + raw.length > STRUCTURES_MAX)
    throw new UserError(`there can be ${STRUCTURES_MAX} SMBIOS structures`);
  const bytes = [...made.flat(), ...raw.flatMap((one) => [...one]), ...structure(127, 0x7f00, [], [])];
  return Uint8Array.from(bytes);
}

/** 6.1: type, length, handle, the fields, then the strings that they number, and two zeros. */
function structure(type: number, handle: number, body: readonly number[], strings: readonly string[]): number[] {
  const texts = strings.flatMap((text) => [...utf8(text.slice(0, 255)).filter((byte) => byte !== 0), 0]);
  return [type, 4 + body.length, ...u16(handle), ...body, ...(texts.length === 0 ? [0, 0] : [...texts, 0])];
}

/** Strings in the order in which they are numbered; an empty one has number 0. */
function numbered() {
  const strings: string[] = [];
  return {
    strings,
    add(text: string | undefined): number {
      if (text === undefined || text === '') return 0;
      return strings.push(text);
    },
  };
}

function bios(texts: Texts): number[] {
  const { strings, add } = numbered();
  const [major, minor] = releaseOf(texts.release);
  const NOT_SUPPORTED = 0x08;
  const VIRTUAL_MACHINE = 0x10;
  const body = [
    add(texts.vendor ?? MANUFACTURER),
    add(texts.version ?? VERSION_TEXT),
    ...u16(0xe800),
    add(texts.date ?? '01/01/2020'),
    0,
    ...u64(NOT_SUPPORTED),
    0,
    VIRTUAL_MACHINE | 0x04 | (texts.uefi === 'on' ? 0x08 : 0),
    major,
    minor,
    0xff,
    0xff,
  ];
  return structure(0, 0x0000, body, strings);
}

function releaseOf(text = '0.0'): [number, number] {
  const [, major, minor] = /^(\d{1,3})\.(\d{1,3})$/.exec(text) ?? [];
  if (major === undefined || Number(major) > 255 || Number(minor) > 255) {
    throw new UserError(`release=${text} is not two numbers up to 255 with a dot between`);
  }
  return [Number(major), Number(minor)];
}

function system(texts: Texts, product: string, uuid: string | undefined): number[] {
  const { strings, add } = numbered();
  const POWER_SWITCH = 0x06;
  const body = [
    add(texts.manufacturer ?? MANUFACTURER),
    add(texts.product ?? product),
    add(texts.version ?? VERSION_TEXT),
    add(texts.serial),
    ...uuidBytes(texts.uuid ?? uuid),
    POWER_SWITCH,
    add(texts.sku),
    add(texts.family),
  ];
  return structure(1, 0x0100, body, strings);
}

/** 7.2.1: the first three fields little-endian. */
function uuidBytes(text = '00000000-0000-0000-0000-000000000000'): number[] {
  if (!/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text)) throw new UserError(`'${text}' is not a UUID`);
  const bytes = (text.replaceAll('-', '').match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
  const turned = (from: number, count: number) => bytes.slice(from, from + count).reverse();
  return [...turned(0, 4), ...turned(4, 2), ...turned(6, 2), ...bytes.slice(8)];
}

function board(texts: Texts): number[] {
  const { strings, add } = numbered();
  const MOTHERBOARD = 0x0a;
  const body = [
    add(texts.manufacturer ?? MANUFACTURER),
    add(texts.product),
    add(texts.version),
    add(texts.serial),
    add(texts.asset),
    0x01,
    add(texts.location),
    ...u16(0x0300),
    MOTHERBOARD,
    0,
  ];
  return structure(2, 0x0200, body, strings);
}

function chassis(texts: Texts): number[] {
  const { strings, add } = numbered();
  const [OTHER, SAFE, NONE] = [0x01, 0x03, 0x02];
  const head = [add(texts.manufacturer ?? MANUFACTURER), OTHER, add(texts.version ?? VERSION_TEXT)];
  const names = [add(texts.serial), add(texts.asset)];
  const body = [...head, ...names, SAFE, SAFE, SAFE, NONE, ...u32(0), 0, 0, 0, 0, add(texts.sku)];
  return structure(3, 0x0300, body, strings);
}

function processor(texts: Texts, index: number): number[] {
  const { strings, add } = numbered();
  const [CENTRAL, UNKNOWN_FAMILY, ENABLED, OTHER] = [0x03, 0xfe, 0x41, 0x01];
  const speed = (text: string | undefined) => u16(Math.min(0xffff, Number(text ?? 2000) || 0));
  const body = [
    add(`${texts.sock_pfx ?? 'CPU'} ${index}`),
    CENTRAL,
    UNKNOWN_FAMILY,
    add(texts.manufacturer ?? MANUFACTURER),
    ...u64(0),
    add(texts.version ?? VERSION_TEXT),
    0,
    ...u16(0),
    ...speed(texts['max-speed']),
    ...speed(texts['current-speed']),
    ENABLED,
    OTHER,
    ...[0xffff, 0xffff, 0xffff].flatMap(u16),
    add(texts.serial),
    add(texts.asset),
    add(texts.part),
    1,
    1,
    1,
    ...u16(0x0002),
    ...u16(OTHER),
  ];
  return structure(4, 0x0400 + index, body, strings);
}

function oem(strings: readonly string[]): number[] {
  if (strings.length > 255) throw new UserError('there can be 255 OEM strings');
  return structure(11, 0x0e00, [strings.length], strings);
}

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** The array, one device a 16 GiB, and where they are. */
function memoryStructures(texts: Texts, memoryBytes: number): number[][] {
  const [SYSTEM_BOARD, SYSTEM_MEMORY, MULTI_BIT_ECC, NO_ERROR] = [0x03, 0x03, 0x06, 0xfffe];
  const deviceBytes = 16 * GIB;
  const count = Math.max(1, Math.ceil(memoryBytes / deviceBytes));
  const kib = Math.min(memoryBytes / 1024, 0x8000_0000);
  const array = [SYSTEM_BOARD, SYSTEM_MEMORY, MULTI_BIT_ECC, ...u32(kib), ...u16(NO_ERROR), ...u16(count)];
  const devices = Array.from({ length: count }, (_, index) => {
    const { strings, add } = numbered();
    const size = Math.min(deviceBytes, memoryBytes - index * deviceBytes) / MIB;
    const [DIMM, RAM, OTHER] = [0x09, 0x07, 0x0002];
    const body = [
      ...u16(0x1000),
      ...u16(NO_ERROR),
      ...u16(0xffff),
      ...u16(0xffff),
      ...u16(Math.min(size, 0x7fff)),
      DIMM,
      0,
      add(`${texts.loc_pfx ?? 'DIMM'} ${index}`),
      add(texts.bank),
      RAM,
      ...u16(OTHER),
      ...u16(Number(texts.speed ?? 0) || 0),
      add(texts.manufacturer ?? MANUFACTURER),
      add(texts.serial),
      add(texts.asset),
      add(texts.part),
      0,
      ...u32(size > 0x7fff ? size : 0),
      ...u16(Number(texts.speed ?? 0) || 0),
    ];
    return structure(17, 0x1100 + index, body, strings);
  });
  const lowBytes = Math.min(memoryBytes, 2 * GIB);
  const mapped = structure(
    19,
    0x1300,
    [...u32(0), ...u32(Math.max(0, lowBytes / 1024 - 1)), ...u16(0x1000), count],
    [],
  );
  return [structure(16, 0x1000, array, []), ...devices, mapped];
}
