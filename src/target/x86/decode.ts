/**
 * The decoder: bytes to one instruction, by the tables of table/. Nothing here
 * is about an engine; the interpreter turns the result into a record, the
 * disassembler into text, the translator into constants.
 */
import type { Variant } from './builder.ts';
import { modeBits } from './mode.ts';
import { fixedRegisterNumber } from './operand.ts';
import { type ParsedRow, parseRow } from './pattern.ts';
import type { Feature, Row } from './table/row.ts';

/** The memory operand: base + index << scale + displacement, cut to the address size, in a segment. */
export interface MemoryOperand {
  /** Register number, or -1; -2 for RIP-relative. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: number;
  /** SIB.index as a vector register, for gathers. */
  readonly vsib: number;
}

/** A decoded instruction. */
export interface Instruction {
  readonly parsed: ParsedRow;
  readonly length: number;
  readonly variant: Variant;
  /** ModRM memory operand. */
  readonly memory: MemoryOperand | undefined;
  /** Segment of the memory operand, overrides applied: 0–5. */
  readonly segment: number;
  /** Register numbers: ModRM.reg, ModRM.rm (when a register), opcode's low bits, VEX.vvvv, imm8[7:4]. */
  readonly reg: number;
  readonly rm: number;
  readonly plus: number;
  readonly vvvv: number;
  readonly is4: number;
  /** A REX prefix makes byte registers 4–7 SPL, BPL, SIL, DIL. */
  readonly rex: boolean;
  /** First immediate (branch offset, moffs), sign-extended; second one of ENTER and far pointers, or an x87 instruction's opcode as in FOP. */
  readonly immediate: bigint;
  readonly immediate2: number;
}

/** What decoding can end with besides an instruction. */
export type DecodeFailure =
  | 'truncated' // more bytes are needed than were given
  | 'undefined' // #UD
  | 'too-long'; // over 15 bytes: #GP(0)

/** The instruction tables, indexed. */
export interface InstructionTable {
  readonly rows: readonly ParsedRow[];
  /** Candidates by [vex][map][opcode]. */
  readonly index: readonly (readonly (readonly ParsedRow[])[])[][];
}

/** Builds the index. Rows that say more (an exact ModRM byte, a digit, a prefix) are tried first. */
export function buildTable(rows: readonly Row[]): InstructionTable {
  const parsed = rows.map(parseRow);
  const index: ParsedRow[][][][] = [0, 1].map(() =>
    [0, 1, 2, 3].map(() => Array.from({ length: 256 }, () => [] as ParsedRow[])),
  );
  for (const p of parsed) {
    const { pattern } = p;
    for (let i = 0; i < (pattern.plusR ? 8 : 1); i++)
      index[pattern.vex ? 1 : 0][pattern.map][pattern.opcode + i].push(p);
  }
  const weight = ({ pattern }: ParsedRow) =>
    (pattern.modrm ? 8 : 0) +
    (pattern.digit !== undefined ? 4 : 0) +
    (pattern.prefix !== undefined ? 2 : 0) +
    (pattern.w !== undefined || !pattern.plusR ? 1 : 0);
  for (const kind of index) for (const map of kind) for (const list of map) list.sort((a, b) => weight(b) - weight(a));
  return { rows: parsed, index };
}

interface Prefixes {
  rex: number;
  osize66: boolean;
  asize67: boolean;
  rep: number;
  lock: boolean;
  segment: number;
}

const segmentPrefixes: Record<number, number> = { 38: 0, 46: 1, 54: 2, 62: 3, 100: 4, 101: 5 };
const maxLength = 15;

class Cursor {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  at: number;
  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes;
    this.start = start;
    this.at = start;
    this.end = end;
  }
  u8(): number {
    if (this.at - this.start >= maxLength) throw tooLong;
    if (this.at >= this.end) throw truncated;
    return this.bytes[this.at++];
  }
  peek(): number {
    const value = this.u8();
    this.at--;
    return value;
  }
  /** Little-endian signed integer of `size` bytes. */
  signed(size: number): bigint {
    let value = 0n;
    for (let i = 0; i < size; i++) value |= BigInt(this.u8()) << BigInt(8 * i);
    return BigInt.asIntN(size * 8, value);
  }
}

// Thrown within decode only; plain objects, so that no stack trace is made.
const truncated = { failure: 'truncated' as const };
const undefinedOpcode = { failure: 'undefined' as const };
const tooLong = { failure: 'too-long' as const };

/** Decodes the instruction at `bytes[start]`; at most `bytes[end - 1]` is looked at. `mode` is made of modeBits. */
export function decode(
  table: InstructionTable,
  features: ReadonlySet<Feature>,
  mode: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): Instruction | DecodeFailure {
  const cursor = new Cursor(bytes, start, end);
  try {
    return decodeAt(table, features, mode, cursor);
  } catch (e) {
    if (e === truncated || e === undefinedOpcode || e === tooLong) return (e as { failure: DecodeFailure }).failure;
    throw e;
  }
}

function readPrefixes(c: Cursor, long64: boolean): Prefixes {
  const p: Prefixes = { rex: 0, osize66: false, asize67: false, rep: 0, lock: false, segment: -1 };
  for (;;) {
    const byte = c.peek();
    if (long64 && (byte & 0xf0) === 0x40) {
      c.u8();
      p.rex = byte;
      return p.rex && isPrefix(c.peek(), long64) ? continuePrefixes(c, long64, p) : p;
    }
    if (!isPrefix(byte, long64)) return p;
    applyPrefix(p, c.u8(), long64);
  }
}

/** A REX prefix that is not the last prefix is ignored. */
function continuePrefixes(c: Cursor, long64: boolean, before: Prefixes): Prefixes {
  const after = readPrefixes(c, long64);
  return {
    rex: after.rex,
    osize66: before.osize66 || after.osize66,
    asize67: before.asize67 || after.asize67,
    rep: after.rep || before.rep,
    lock: before.lock || after.lock,
    segment: after.segment >= 0 ? after.segment : before.segment,
  };
}

function isPrefix(byte: number, long64: boolean): boolean {
  return (
    byte === 0x66 ||
    byte === 0x67 ||
    byte === 0xf0 ||
    byte === 0xf2 ||
    byte === 0xf3 ||
    segmentPrefixes[byte] !== undefined ||
    (long64 && (byte & 0xf0) === 0x40)
  );
}

function applyPrefix(p: Prefixes, byte: number, long64: boolean): void {
  if (byte === 0x66) p.osize66 = true;
  else if (byte === 0x67) p.asize67 = true;
  else if (byte === 0xf0) p.lock = true;
  else if (byte === 0xf2 || byte === 0xf3) p.rep = byte;
  else if (!long64 || segmentPrefixes[byte] >= 4) p.segment = segmentPrefixes[byte];
}

interface Opcode {
  map: number;
  opcode: number;
  vex: boolean;
  prefix: number;
  w: boolean;
  l: number;
  vvvv: number;
  /** Extension bits R, X, B as 0 or 8. */
  r: number;
  x: number;
  b: number;
}

function readOpcode(c: Cursor, p: Prefixes, long64: boolean, protectedMode: boolean): Opcode {
  const first = c.u8();
  if ((first === 0xc4 || first === 0xc5) && protectedMode && (long64 || c.peek() >= 0xc0))
    return readVex(c, p, first, long64);
  const o: Opcode = {
    map: 0,
    opcode: first,
    vex: false,
    prefix: p.rep || (p.osize66 ? 0x66 : 0),
    w: (p.rex & 8) !== 0,
    l: 0,
    vvvv: 0,
    r: (p.rex & 4) << 1,
    x: (p.rex & 2) << 2,
    b: (p.rex & 1) << 3,
  };
  if (first !== 0x0f) return o;
  const second = c.u8();
  o.map = second === 0x38 ? 2 : second === 0x3a ? 3 : 1;
  o.opcode = o.map === 1 ? second : c.u8();
  return o;
}

function readVex(c: Cursor, p: Prefixes, first: number, long64: boolean): Opcode {
  if (p.osize66 || p.rep || p.lock || p.rex) throw undefinedOpcode;
  const a = c.u8();
  const three = first === 0xc4;
  const b = three ? c.u8() : a;
  const map = three ? a & 0x1f : 1;
  if (map < 1 || map > 3) throw undefinedOpcode;
  const vvvv = (~b >> 3) & 15;
  return {
    map,
    opcode: c.u8(),
    vex: true,
    prefix: [0, 0x66, 0xf3, 0xf2][b & 3],
    w: three && (b & 0x80) !== 0,
    l: (b >> 2) & 1,
    vvvv: long64 ? vvvv : vvvv & 7,
    r: long64 && !(a & 0x80) ? 8 : 0,
    x: long64 && three && !(a & 0x40) ? 8 : 0,
    b: long64 && three && !(a & 0x20) ? 8 : 0,
  };
}

function decodeAt(table: InstructionTable, features: ReadonlySet<Feature>, mode: number, c: Cursor): Instruction {
  const long64 = (mode & modeBits.long64) !== 0;
  const p = readPrefixes(c, long64);
  const o = readOpcode(c, p, long64, (mode & modeBits.protected) !== 0);
  const list = table.index[o.vex ? 1 : 0][o.map][o.opcode];
  const modrm = list.some((row) => row.hasModrm) ? c.peek() : 0;
  const parsed = list.find((row) => matches(row, o, p, mode, modrm, features));
  if (!parsed) throw undefinedOpcode;
  const { row, pattern, operands } = parsed;

  const code32 = long64 || (mode & modeBits.code32) !== 0;
  const asize = long64 ? (p.asize67 ? 4 : 8) : code32 !== p.asize67 ? 4 : 2;
  const osize = operandSize(p, o, row, long64, code32, pattern.prefix === 0x66);

  let memory: MemoryOperand | undefined;
  let segment = 3;
  let reg = 0;
  let rm = 0;
  if (parsed.hasModrm) {
    c.u8();
    reg = ((modrm >> 3) & 7) | o.r;
    if (modrm >> 6 === 3 || parsed.ignoresMod) rm = (modrm & 7) | o.b;
    else {
      memory = asize === 2 ? modrm16(c, modrm) : modrm32(c, modrm, o, long64);
      const stackBase =
        asize === 2
          ? (modrm & 7) === 2 || (modrm & 7) === 3 || ((modrm & 7) === 6 && modrm >> 6 !== 0)
          : memory.base === 4 || memory.base === 5;
      if (stackBase) segment = 2;
    }
  }
  if (p.segment >= 0) segment = p.segment;
  if (row.vsib && asize === 2) throw undefinedOpcode;

  let immediate = 0n;
  let immediate2 = row.unit === 'x87' ? ((o.opcode & 7) << 8) | modrm : 0;
  let is4 = 0;
  let seen = false;
  const wide = (size: string) =>
    size === 'b' || size === 'bu'
      ? 1
      : size === 'w'
        ? 2
        : size === 'v'
          ? osize
          : size === 'q'
            ? 8
            : osize === 2
              ? 2
              : 4;
  for (const operand of operands) {
    if (operand.type === 'I' || operand.type === 'J') {
      let value = c.signed(wide(operand.size));
      if (operand.size === 'bu') value &= 0xffn;
      if (seen) immediate2 = Number(value);
      else immediate = value;
      seen = true;
    } else if (operand.type === 'A') {
      immediate = BigInt.asUintN(32, c.signed(osize === 2 ? 2 : 4)) & (osize === 2 ? 0xffffn : 0xffffffffn);
      immediate2 = Number(c.signed(2)) & 0xffff;
    } else if (operand.type === 'O') {
      immediate = BigInt.asUintN(asize * 8, c.signed(asize));
    } else if (operand.type === 'L') {
      is4 = (c.u8() >> 4) & (long64 ? 15 : 7);
    }
  }

  // Only now: all bytes of an instruction are fetched before it is looked at.
  if (p.lock && !(row.lock && memory)) throw undefinedOpcode;
  const variant: Variant = {
    osize,
    asize,
    ssize: long64 ? 8 : mode & modeBits.stack32 ? 4 : 2,
    memory: memory !== undefined,
    vl: o.vex && o.l ? 32 : 16,
    vex: o.vex,
    w: o.w && long64,
    rep: p.rep === 0xf3 ? 2 : p.rep === 0xf2 ? 1 : 0,
    long64,
    flat: long64 || ((mode & modeBits.flat) !== 0 && segment < 4 && segment !== 1), // CS is not writable
    ready: (mode & (row.unit === 'avx' ? modeBits.avx : modeBits.sse)) !== 0,
  };
  return {
    parsed,
    length: c.at - c.start,
    variant,
    memory,
    segment,
    reg,
    rm,
    plus: (o.opcode & 7) | o.b,
    vvvv: o.vvvv,
    is4,
    rex: p.rex !== 0,
    immediate,
    immediate2,
  };
}

function operandSize(
  p: Prefixes,
  o: Opcode,
  row: Row,
  long64: boolean,
  code32: boolean,
  mandatory66: boolean,
): 2 | 4 | 8 {
  const prefix66 = p.osize66 && !mandatory66;
  if (!long64) return code32 !== prefix66 ? 4 : 2;
  if (row.size64 === 'branch') return 8;
  if (o.w) return 8;
  if (prefix66) return 2;
  return row.size64 === 'stack' ? 8 : 4;
}

function matches(
  parsed: ParsedRow,
  o: Opcode,
  p: Prefixes,
  mode: number,
  modrm: number,
  features: ReadonlySet<Feature>,
): boolean {
  const { pattern, row } = parsed;
  const long64 = (mode & modeBits.long64) !== 0;
  if (row.mode === (long64 ? 'no64' : 'only64')) return false;
  if (pattern.prefix !== undefined && !prefixMatches(pattern.prefix, o, p)) return false;
  if (pattern.digit !== undefined && ((modrm >> 3) & 7) !== pattern.digit) return false;
  if (pattern.modrm && (modrm < pattern.modrm.first || modrm > pattern.modrm.last)) return false;
  if (parsed.memory !== undefined && parsed.memory !== modrm >> 6 < 3) return false;
  if (pattern.w !== undefined && (pattern.w === 1) !== o.w) return false;
  if (pattern.vex) {
    if (pattern.l !== undefined && pattern.l !== o.l) return false;
    if (o.vvvv !== 0 && !parsed.operands.some((x) => x.type === 'H' || x.type === 'B')) return false;
  }
  if (row.vsib && (modrm & 7) !== 4) return false;
  if (row.withoutRexB && o.b) return false;
  if (row.cpuid && !features.has(row.cpuid)) return false;
  return !(row.protectedOnly && !(mode & modeBits.protected));
}

function prefixMatches(wanted: number, o: Opcode, p: Prefixes): boolean {
  if (o.vex || wanted !== 0x66) return o.prefix === wanted;
  return p.osize66 && p.rep === 0;
}

const bases16 = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, -1],
  [7, -1],
  [5, -1],
  [3, -1],
];

function modrm16(c: Cursor, modrm: number): MemoryOperand {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (mod === 0 && rm === 6) return { base: -1, index: -1, scale: 0, displacement: Number(c.signed(2)), vsib: 0 };
  const displacement = mod === 0 ? 0 : Number(c.signed(mod));
  return { base: bases16[rm][0], index: bases16[rm][1], scale: 0, displacement, vsib: 0 };
}

function modrm32(c: Cursor, modrm: number, o: Opcode, long64: boolean): MemoryOperand {
  const mod = modrm >> 6;
  let base = (modrm & 7) | o.b;
  let index = -1;
  let scale = 0;
  let vsib = 0;
  if ((modrm & 7) === 4) {
    const sib = c.u8();
    index = ((sib >> 3) & 7) | o.x;
    vsib = index;
    if (index === 4) index = -1;
    scale = sib >> 6;
    base = (sib & 7) | o.b;
    if ((sib & 7) === 5 && mod === 0) return { base: -1, index, scale, displacement: Number(c.signed(4)), vsib };
  } else if ((modrm & 7) === 5 && mod === 0) {
    return { base: long64 ? -2 : -1, index: -1, scale: 0, displacement: Number(c.signed(4)), vsib };
  }
  return { base, index, scale, displacement: mod === 0 ? 0 : Number(c.signed(mod === 1 ? 1 : 4)), vsib };
}

/** Number of the general register that operand `i` names, for integer register operands. */
export function registerNumber(instruction: Instruction, i: number): number {
  const { type, size } = instruction.parsed.operands[i];
  switch (type) {
    case 'G':
    case 'V':
    case 'P':
    case 'C':
    case 'D':
      return instruction.reg;
    case 'S':
      return instruction.reg & 7;
    case 'E':
    case 'W':
    case 'Q':
    case 'R':
    case 'U':
    case 'N':
      return instruction.rm;
    case 'Z':
      return instruction.plus;
    case 'H':
    case 'B':
      return instruction.vvvv;
    case 'L':
      return instruction.is4;
    case 'reg':
      return size === 'STi' ? instruction.rm & 7 : fixedRegisterNumber(size);
    default:
      throw new Error(`operand ${type}${size} is not a register`);
  }
}
