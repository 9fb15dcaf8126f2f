/** x86-64's registers as gdb numbers them: one table for reading, writing and the target description. */
import type { X86CpuRecord } from '../../target/index.ts';

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };
export type CpuDraft = Mutable<X86CpuRecord>;

interface Register {
  readonly name: string;
  readonly bytes: number;
  /** gdb's type of it. */
  readonly type: string;
  readonly feature: 'core' | 'sse' | 'segments';
  /** Little-endian, of `bytes` bytes. */
  read(cpu: X86CpuRecord): bigint;
  write(cpu: CpuDraft, value: bigint): void;
}

/** Places in an XSAVE image's legacy area (SDM vol. 1, 10.5.1). */
const XSAVE = { control: 0, status: 2, tags: 4, opcode: 6, mxcsr: 24, st: 32, xmm: 160, header: 512 } as const;
const GENERAL = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'] as const;
/** Where they are in the record, which has them in the order of their encodings. */
const ENCODING = [0, 3, 1, 2, 6, 7, 5, 4] as const;
const SEGMENTS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;
const TAG_EMPTY = 3n;

function general(name: string, index: number): Register {
  return {
    name,
    bytes: 8,
    type: name === 'rsp' || name === 'rbp' ? 'data_ptr' : 'int64',
    feature: 'core',
    read: (cpu) => cpu.general[index],
    write(cpu, value) {
      cpu.general = cpu.general.map((old, i) => (i === index ? value : old));
    },
  };
}

function segment(name: (typeof SEGMENTS)[number]): Register {
  return {
    name,
    bytes: 4,
    type: 'int32',
    feature: 'core',
    read: (cpu) => BigInt(cpu.segments[name].selector),
    write() {}, // a selector alone says nothing of the segment's base and rights
  };
}

function base(name: string, of: 'fs' | 'gs'): Register {
  return {
    name,
    bytes: 8,
    type: 'int64',
    feature: 'segments',
    read: (cpu) => cpu.segments[of].base,
    write(cpu, value) {
      cpu.segments = { ...cpu.segments, [of]: { ...cpu.segments[of], base: value } };
    },
  };
}

function inImage(
  name: string,
  bytes: number,
  type: string,
  feature: 'core' | 'sse',
  at: number,
  length: number,
): Register {
  return {
    name,
    bytes,
    type,
    feature,
    read: ({ xsave }) => littleEndian(xsave.subarray(at, at + length)),
    write(cpu, value) {
      const image = cpu.xsave.slice();
      for (let i = 0; i < length; i += 1) image[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
      // The parts of x87 and SSE are there from now on.
      image[XSAVE.header] |= 3;
      cpu.xsave = image;
    },
  };
}

/** What x87 has and nobody changes from here. */
function constant(name: string, read: (cpu: X86CpuRecord) => bigint): Register {
  return { name, bytes: 4, type: 'int', feature: 'core', read, write() {} };
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** The tag word of two bits a register, from XSAVE's one bit. */
function tagWord({ xsave }: X86CpuRecord): bigint {
  let word = 0n;
  for (let i = 0; i < 8; i += 1) if ((xsave[XSAVE.tags] & (1 << i)) === 0) word |= TAG_EMPTY << BigInt(2 * i);
  return word;
}

/** In gdb's order, which is their numbers (org.gnu.gdb.i386.core, .sse and .segments). */
export const REGISTERS: readonly Register[] = [
  ...GENERAL.map((name, i) => general(name, ENCODING[i])),
  ...Array.from({ length: 8 }, (_, i) => general(`r${i + 8}`, i + 8)),
  {
    name: 'rip',
    bytes: 8,
    type: 'code_ptr',
    feature: 'core',
    read: (cpu) => cpu.rip,
    write(cpu, value) {
      cpu.rip = value;
    },
  },
  {
    name: 'eflags',
    bytes: 4,
    type: 'int32',
    feature: 'core',
    read: (cpu) => cpu.rflags & 0xffff_ffffn,
    write(cpu, value) {
      cpu.rflags = value | 2n;
    },
  },
  ...SEGMENTS.map(segment),
  ...Array.from({ length: 8 }, (_, i) => inImage(`st${i}`, 10, 'i387_ext', 'core', XSAVE.st + 16 * i, 10)),
  inImage('fctrl', 4, 'int', 'core', XSAVE.control, 2),
  inImage('fstat', 4, 'int', 'core', XSAVE.status, 2),
  constant('ftag', tagWord),
  ...['fiseg', 'fioff', 'foseg', 'fooff'].map((name) => constant(name, () => 0n)),
  inImage('fop', 4, 'int', 'core', XSAVE.opcode, 2),
  ...Array.from({ length: 16 }, (_, i) => inImage(`xmm${i}`, 16, 'vec128', 'sse', XSAVE.xmm + 16 * i, 16)),
  inImage('mxcsr', 4, 'int', 'sse', XSAVE.mxcsr, 4),
  base('fs_base', 'fs'),
  base('gs_base', 'gs'),
];

/** A register's bytes in hexadecimal, as packets carry them. */
export function readRegister(cpu: X86CpuRecord, register: Register): string {
  let [value, text] = [register.read(cpu), ''];
  for (let i = 0; i < register.bytes; i += 1) {
    text += (value & 0xffn).toString(16).padStart(2, '0');
    value >>= 8n;
  }
  return text;
}

export function writeRegister(cpu: CpuDraft, register: Register, bytes: Uint8Array): void {
  register.write(cpu, littleEndian(bytes.subarray(0, register.bytes)));
}

/** An XMM register's parts, by the names that gdb's users know. */
const VECTORS = [
  ['v4_float', 'ieee_single', 4],
  ['v2_double', 'ieee_double', 2],
  ['v16_int8', 'int8', 16],
  ['v8_int16', 'int16', 8],
  ['v4_int32', 'int32', 4],
  ['v2_int64', 'int64', 2],
] as const;

function vectorTypes(): string {
  const vectors = VECTORS.map(([name, type, count]) => `<vector id="${name}_t" type="${type}" count="${count}"/>`);
  const fields = VECTORS.map(([name]) => `<field name="${name}" type="${name}_t"/>`);
  return `${vectors.join('')}<union id="vec128">${fields.join('')}<field name="uint128" type="uint128"/></union>`;
}

/** What gdb reads to know the registers. */
export function targetDescription(): string {
  const features = (['core', 'sse', 'segments'] as const).map((feature) => {
    const rows = REGISTERS.filter((register) => register.feature === feature).map(
      ({ name, bytes, type }) => `<reg name="${name}" bitsize="${bytes * 8}" type="${type}"/>`,
    );
    const types = feature === 'sse' ? vectorTypes() : '';
    return `<feature name="org.gnu.gdb.i386.${feature}">${types}${rows.join('')}</feature>`;
  });
  return `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386:x86-64</architecture>${features.join('')}</target>`;
}
