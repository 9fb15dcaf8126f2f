/** Random encodings of a table row: prefixes, REX or VEX, ModRM with SIB and displacement, immediates. */
import type { ParsedRow } from '../../../../target/index.ts';
import type { Random } from './random.ts';
import type { Mode } from './record.ts';

export interface Encoding {
  readonly bytes: Uint8Array;
  /** Where the displacement (or moffs) lies in `bytes`, and its length; 0 long when there is none. */
  readonly displacement: { readonly offset: number; readonly length: number };
}

/** The operand codes that ModRM.reg, ModRM.rm and VEX.vvvv can hold. */
const regTypes = 'GVPSCD';

/** Address size in bytes with and without the 67 prefix. */
const addressSize = (mode: Mode, prefixed: boolean) =>
  mode === 'long64' ? (prefixed ? 4 : 8) : (mode === 'code32') !== prefixed ? 4 : 2;

const segmentPrefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

interface Choices {
  readonly prefix66: boolean;
  readonly prefix67: boolean;
  /** REX or VEX.W. */
  readonly w: boolean;
  readonly legacy: number[];
}

/** Encodes `parsed` at random; it can come out as another row where rows overlap (decode it to see). */
export function encode(parsed: ParsedRow, mode: Mode, r: Random): Encoding {
  const { pattern } = parsed;
  const choices = choosePrefixes(parsed, mode, r);
  const out: number[] = [...choices.legacy];
  let extended = 0; // R, X, B
  if (mode === 'long64' && r.chance(60)) extended = r.below(8);
  const modrm = parsed.hasModrm ? encodeModrm(parsed, mode, choices.prefix67, r) : { bytes: [], displacement: 0 };
  if (pattern.vex) out.push(...encodeVex(parsed, mode, choices.w, extended, r));
  else {
    if (mode === 'long64' && (choices.w || extended || r.chance(10))) out.push(0x40 | (choices.w ? 8 : 0) | extended);
    out.push(...[[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][pattern.map]);
  }
  out.push(pattern.opcode + (pattern.plusR ? r.below(8) : 0));
  const displacementAt = out.length + modrm.bytes.length - modrm.displacement;
  out.push(...modrm.bytes);
  let displacement = { offset: displacementAt, length: modrm.displacement };
  for (const operand of parsed.operands) {
    const length = immediateLength(operand, mode, choices);
    if (operand.type === 'O') displacement = { offset: out.length, length };
    out.push(...immediateBytes(operand.type, length, r));
  }
  return { bytes: Uint8Array.from(out), displacement };
}

function choosePrefixes(parsed: ParsedRow, mode: Mode, r: Random): Choices {
  const { pattern, row, operands } = parsed;
  const legacy: number[] = [];
  const sized =
    operands.some((o) => ['v', 'z', 'r', ''].includes(o.size) || /^[re]/.test(o.size)) || row.by?.includes('osize');
  // 66 is only the operand size where the row leaves it free; near branches in 64-bit mode ignore it (Intel) or not (AMD).
  const free66 = !pattern.vex && pattern.prefix === undefined && !(row.size64 === 'branch' && mode === 'long64');
  const prefix66 = !pattern.vex && (pattern.prefix === 0x66 || (free66 && r.chance(sized ? 30 : 3)));
  const prefix67 = r.chance(8);
  if (prefix66) legacy.push(0x66);
  if (prefix67) legacy.push(0x67);
  if (r.chance(10)) legacy.push(r.pick(segmentPrefixes));
  if (row.lock && r.chance(15)) legacy.push(0xf0);
  else if (r.chance(0.5) && !pattern.vex) legacy.push(0xf0);
  const repeats = operands.some((o) => o.type === 'X' || o.type === 'Y');
  if (!pattern.vex && pattern.prefix === undefined && r.chance(repeats ? 60 : 1)) legacy.push(r.pick([0xf2, 0xf3]));
  for (let i = legacy.length - 1; i > 0; i--) {
    const j = r.below(i + 1);
    [legacy[i], legacy[j]] = [legacy[j], legacy[i]];
  }
  if (!pattern.vex && (pattern.prefix === 0xf2 || pattern.prefix === 0xf3)) legacy.push(pattern.prefix);
  const w = pattern.w === undefined ? mode === 'long64' && r.chance(30) : pattern.w === 1;
  return { prefix66, prefix67, w, legacy };
}

function encodeVex(parsed: ParsedRow, mode: Mode, w: boolean, extended: number, r: Random): number[] {
  const { pattern, operands } = parsed;
  const long = mode === 'long64';
  const l = pattern.l ?? r.below(2);
  const hasVvvv = operands.some((o) => o.type === 'H' || o.type === 'B');
  const vvvv = hasVvvv ? r.below(long ? 16 : 8) : r.chance(1) ? r.below(long ? 16 : 8) : 0;
  const pp = [0, 0x66, 0xf3, 0xf2].indexOf(pattern.prefix ?? 0);
  const low = ((vvvv ^ 15) << 3) | (l << 2) | pp;
  if (pattern.map === 1 && !w && (extended & 3) === 0 && r.chance(50)) return [0xc5, (extended & 4 ? 0 : 0x80) | low];
  return [0xc4, ((extended ^ 7) << 5) | pattern.map, (w ? 0x80 : 0) | low];
}

function encodeModrm(
  parsed: ParsedRow,
  mode: Mode,
  prefix67: boolean,
  r: Random,
): { bytes: number[]; displacement: number } {
  const { pattern } = parsed;
  if (pattern.modrm)
    return { bytes: [pattern.modrm.first + r.below(pattern.modrm.last - pattern.modrm.first + 1)], displacement: 0 };
  const regCode = parsed.operands.find((o) => regTypes.includes(o.type));
  const reg = pattern.digit ?? (regCode?.type === 'S' ? r.pick([0, 0, 2, 3, 3, 4, 5, 1, 6]) : r.below(8));
  const memory = parsed.memory ?? r.chance(50);
  if (parsed.ignoresMod) return { bytes: [(r.below(4) << 6) | (reg << 3) | r.below(8)], displacement: 0 };
  if (!memory) return { bytes: [0xc0 | (reg << 3) | r.below(8)], displacement: 0 };
  const vsib = /GATHER/.test(parsed.row.mnemonic);
  const mod = r.below(3);
  const rm = vsib ? 4 : r.below(8);
  const bytes = [(mod << 6) | (reg << 3) | rm];
  const wide = addressSize(mode, prefix67) !== 2;
  let displacement = mod === 1 ? 1 : mod === 2 ? (wide ? 4 : 2) : 0;
  if (wide && rm === 4) {
    const sib = r.below(256);
    bytes.push(sib);
    if (mod === 0 && (sib & 7) === 5) displacement = 4;
  } else if (mod === 0 && rm === (wide ? 5 : 6)) displacement = wide ? 4 : 2;
  bytes.push(...randomNumber(displacement, r));
  return { bytes, displacement };
}

function immediateLength(
  { type, size }: { type: string; size: string },
  mode: Mode,
  { prefix66, prefix67, w }: Choices,
): number {
  const osize = w ? 8 : (mode === 'code16') !== prefix66 ? 2 : 4;
  switch (type) {
    case 'I':
    case 'J':
      return size.startsWith('b')
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
    case 'A':
      return osize === 2 ? 4 : 6;
    case 'O':
      return addressSize(mode, prefix67);
    case 'L':
      return 1;
    default:
      return 0;
  }
}

function immediateBytes(type: string, length: number, r: Random): number[] {
  // Branches mostly land near, where the code pages' INT3 are, but not on the instruction itself.
  if (type === 'J' && r.chance(75)) return littleEndian(r.chance(50) ? r.below(100) : -16 - r.below(100), length);
  return randomNumber(length, r);
}

function randomNumber(length: number, r: Random): number[] {
  const small = r.chance(50);
  return littleEndian(
    small ? r.pick([0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, -1, -2, -8, -128]) : r.u32(),
    length,
  );
}

function littleEndian(value: number, length: number): number[] {
  return Array.from({ length }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
}
