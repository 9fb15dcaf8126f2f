/**
 * Makes test cases from the instruction table: a random encoding of a row, a
 * random state, and registers solved so that memory operands meet the test pages.
 */
import {
  decode,
  type Feature,
  type Instruction,
  type InstructionTable,
  type MemoryOperand,
  modeBits,
  operandShape,
  type ParsedRow,
} from '../../../../target/index.ts';
import { type Encoding, encode } from './encode.ts';
import { Random } from './random.ts';
import { gprOf, randomAddress, randomState, setGpr, someKind, type Taste } from './random-state.ts';
import {
  at,
  codeBase,
  codeSize,
  imageOffset,
  ldt,
  type Mode,
  type Patch,
  pageSize,
  selectors,
  type TestCase,
} from './record.ts';
import { type ElementKind, elements, integer } from './values.ts';

export interface Generator {
  readonly table: InstructionTable;
  /** Features of the CPU that is modelled; rows behind others decode as #UD. */
  readonly features: ReadonlySet<Feature>;
  /** The rows to test: case `n` is one of row `n` modulo their number. */
  readonly rows: readonly ParsedRow[];
  readonly seed: number;
}

const common = modeBits.protected | modeBits.sse | modeBits.avx;
/** Decoding mode of each mode of cases. */
export const modeFlags: Record<Mode, number> = {
  long64: common | modeBits.long64 | modeBits.code32 | modeBits.stack32,
  code32: common | modeBits.code32 | modeBits.stack32,
  code16: common,
};

export function generateCase(g: Generator, number: number): TestCase {
  const r = new Random(g.seed, number);
  const parsed = g.rows[number % g.rows.length];
  const mode = pickMode(parsed, r);
  const { encoding, instruction } = encodeOwn(g, parsed, mode, r);
  const taste = tasteOf(parsed, r);
  const state = randomState(r, mode, taste);
  const codeAddress = pickCodeAddress(r, encoding.bytes.length);
  state.setBigUint64(at.rip, BigInt(mode === 'code16' ? codeAddress - codeBase : codeAddress), true);
  const draft: Draft = {
    r,
    mode,
    state,
    taste,
    parsed,
    instruction,
    encoding,
    code: Uint8Array.from(encoding.bytes),
    codeAddress,
    patches: [],
  };
  if (instruction) setUpOperands(draft, instruction);
  setUpStack(draft);
  return { number, parsed, instruction, mode, state, codeAddress, code: draft.code, patches: draft.patches };
}

/** What is being made. */
interface Draft {
  readonly r: Random;
  readonly mode: Mode;
  readonly state: DataView<ArrayBuffer>;
  readonly taste: Taste;
  readonly parsed: ParsedRow;
  readonly instruction: Instruction | undefined;
  readonly encoding: Encoding;
  readonly code: Uint8Array;
  readonly codeAddress: number;
  readonly patches: Patch[];
}

function pickMode(parsed: ParsedRow, r: Random): Mode {
  if (parsed.row.mode === 'only64' || (parsed.pattern.w === 1 && !parsed.pattern.vex)) return 'long64';
  const legacy = r.chance(80) ? 'code32' : 'code16';
  if (parsed.row.mode === 'no64') return legacy;
  return r.chance(70) ? 'long64' : legacy;
}

/** An encoding that decodes as `parsed`, or (rarely) one that is undefined. */
function encodeOwn(
  g: Generator,
  parsed: ParsedRow,
  mode: Mode,
  r: Random,
): { encoding: Encoding; instruction: Instruction | undefined } {
  for (let attempt = 0; ; attempt++) {
    const encoding = encode(parsed, mode, r);
    const decoded = decode(g.table, g.features, modeFlags[mode], encoding.bytes, 0, encoding.bytes.length);
    if (
      typeof decoded === 'object' &&
      decoded.parsed === parsed &&
      decoded.length === encoding.bytes.length &&
      isFit(decoded)
    )
      return { encoding, instruction: decoded };
    if (decoded === 'undefined' && (attempt > 20 || r.chance(30))) return { encoding, instruction: undefined };
    if (attempt > 200)
      throw new Error(
        `no encoding of ${parsed.row.mnemonic} (${parsed.row.pattern}) ${parsed.row.operands} decodes as itself in ${mode}`,
      );
  }
}

/** XSAVE and XRSTOR: EDX:EAX is the mask of components, and can not be the address too. */
function isFit({ parsed, memory }: Instruction): boolean {
  return !isExtendedSave(parsed) || ![memory?.base, memory?.index].some((i) => i === 0 || i === 2);
}

const isExtendedSave = ({ row }: ParsedRow): boolean => /^X(SAVE|RSTOR)/.test(row.mnemonic);

/** Mostly amid INT3; sometimes over the border between the two code pages, or running into the unmapped page behind. */
function pickCodeAddress(r: Random, length: number): number {
  if (r.chance(4)) return codeBase + pageSize - 1 - r.below(length);
  if (r.chance(2)) return codeBase + codeSize - r.below(length + 2);
  return codeBase + 0x100 + r.below(0xd00);
}

const singles = /(PS|SS)([XD]?2\w+)?$|^V?FN?M?(ADD|SUB)\w*[PS]S$|PS2|SS2|BROADCASTSS|SHUFPS|DPPS/;
const doubles = /(PD|SD)$|PD2|SD2/;

function tasteOf({ row }: ParsedRow, r: Random): Taste {
  const x87 = row.unit?.startsWith('x87') === true;
  const sse = row.unit === 'sse' || row.unit === 'avx';
  let kind: ElementKind = r.pick(['bytes', 'words', 'dwords', 'qwords', 'random']);
  if (x87) kind = /^FI|^FBLD/.test(row.mnemonic) ? kind : row.operands.includes('d') ? 'single' : 'double';
  else if (/PH2PS/.test(row.mnemonic)) kind = 'half';
  else if (!/^V?P[A-Z]/.test(row.mnemonic) && sse && singles.test(row.mnemonic)) kind = 'single';
  else if (!/^V?P[A-Z]/.test(row.mnemonic) && sse && doubles.test(row.mnemonic)) kind = 'double';
  else if (r.chance(60))
    kind = ({ B: 'bytes', W: 'words', D: 'dwords', Q: 'qwords' } as const)[row.mnemonic.slice(-1) as 'B'] ?? kind;
  return { kind, x87: x87 || row.unit === 'mmx', sse };
}

/** Base of a segment in this state. */
function segmentBase(draft: Draft, segment: number): bigint {
  const { state, mode } = draft;
  if (mode === 'long64')
    return segment === 4
      ? state.getBigUint64(at.fsBase, true)
      : segment === 5
        ? state.getBigUint64(at.gsBase, true)
        : 0n;
  const order = [3, 0, 1, 2, 4, 5][segment]; // ES CS SS DS FS GS → CS SS DS ES FS GS
  const selector = state.getUint16(at.segments + 2 * order, true);
  return BigInt(ldt.find((d) => d.selector === selector)?.base ?? 0);
}

function setUpOperands(draft: Draft, instruction: Instruction): void {
  const { r, state, mode, parsed } = draft;
  const { mnemonic } = parsed.row;
  const shapes = parsed.operands.map((code) => operandShape(code, instruction.variant));
  // Counts and string lengths: small.
  if (
    r.chance(60) ||
    (instruction.variant.rep && shapes.some((s) => s.memory === 'source' || s.memory === 'destination'))
  ) {
    const keep = instruction.variant.asize === 2 ? gprOf(state, 1) & ~0xffffn : 0n;
    setGpr(state, 1, mode, keep | BigInt(r.pick([0, 1, 2, 3, 5, 8, 17, 40, r.below(256)])));
  }
  for (const s of shapes) {
    if (s.kind !== 'memory') continue;
    if (s.memory === 'source') pointAt(draft, 6, instruction.segment, instruction.variant.asize, s.width);
    else if (s.memory === 'destination') pointAt(draft, 7, 0, instruction.variant.asize, s.width);
  }
  if (/^XLAT/.test(mnemonic)) pointAt(draft, 3, instruction.segment, instruction.variant.asize, 1);
  if (/MASKMOV(Q|DQU)$/.test(mnemonic)) pointAt(draft, 7, instruction.segment, instruction.variant.asize, 16);
  setUpSpecial(draft, instruction);
  const operand = shapes.findIndex((s) => s.kind === 'memory' && (s.memory === 'ea' || s.memory === 'moffs'));
  if (operand >= 0) {
    const width = shapes[operand].width * (instruction.variant.vl === 32 && shapes[operand].width === 16 ? 2 : 1);
    setUpMemory(draft, instruction, width);
  }
}

/** Selectors and branch targets that mostly are good ones, in the register that ModRM.rm names. */
function setUpSpecial(draft: Draft, instruction: Instruction): void {
  const { r, parsed, state, mode } = draft;
  // The host may know state components that Vireo's model does not have.
  if (isExtendedSave(parsed)) {
    setGpr(state, 0, mode, (gprOf(state, 0) & ~0xffff_ffffn) | BigInt(r.below(8)));
    setGpr(state, 2, mode, 0n);
  }
  if (instruction.memory || !r.chance(80)) return;
  if (parsed.row.mnemonic === 'MOV' && parsed.operands[0].type === 'S')
    setGpr(state, instruction.rm, mode, (gprOf(state, instruction.rm) & ~0xffffn) | BigInt(someSelector(r)));
  if (isIndirectBranch(parsed)) setGpr(state, instruction.rm, mode, someTarget(draft));
}

const isIndirectBranch = ({ row, operands }: ParsedRow): boolean =>
  /^(JMP|CALL)$/.test(row.mnemonic) && operands[0]?.type === 'E';

/** Null, of the GDT, of the LDT, or any. */
function someSelector(r: Random): number {
  return r.chance(40)
    ? selectors.data
    : r.pick([
        0,
        3,
        selectors.code32,
        selectors.code64,
        0x0f,
        0x17,
        0x1f,
        0x27,
        0x2f,
        0x37,
        0x3f,
        0x47,
        0x08,
        r.below(0x10000),
      ]);
}

/** RIP amid the INT3 behind the instruction. */
const someTarget = ({ r, mode, codeAddress }: Draft): bigint =>
  BigInt(codeAddress - (mode === 'code16' ? codeBase : 0) + 16 + r.below(64));

/** Makes register `i` (of the address size) point at data for `size` bytes in `segment`. */
function pointAt(draft: Draft, i: number, segment: number, asize: number, size: number): void {
  const { r, state, mode } = draft;
  const target = BigInt(randomAddress(r, size));
  const mask = asize === 8 ? (1n << 64n) - 1n : asize === 4 ? 0xffff_ffffn : 0xffffn;
  setGpr(state, i, mode, (gprOf(state, i) & ~mask) | ((target - segmentBase(draft, segment)) & mask));
  putValue(draft, Number(target), size);
}

/** Puts an interesting value at `address`, as far as it lies in data pages. */
function putValue(draft: Draft, address: number, size: number): void {
  const { r, parsed, state } = draft;
  const bytes = memoryValue(draft, size);
  const length = bytes.length;
  // Compare-and-exchange meets its operand half of the time.
  if (/^CMPXCHG/.test(parsed.row.mnemonic) && r.chance(50)) {
    const half = /8B|16B/.test(parsed.row.mnemonic) ? length / 2 : length;
    for (let i = 0; i < half; i++) bytes[i] = state.getUint8(at.gpr + i);
    for (let i = half; i < length; i++) bytes[i] = state.getUint8(at.gpr + 16 + i - half);
  }
  putBytes(draft, address, bytes);
}

/** Adds patches for `bytes` at `address`, cut at page borders. */
function putBytes(draft: Draft, address: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const start = address + done;
    const length = Math.min(bytes.length - done, pageSize - (start & (pageSize - 1)));
    if (imageOffset(start) >= 0) draft.patches.push({ address: start, bytes: bytes.slice(done, done + length) });
    done += length;
  }
}

function memoryValue(draft: Draft, size: number): Uint8Array {
  const { r, parsed, taste } = draft;
  const { mnemonic } = parsed.row;
  if (/^(FXRSTOR|XRSTOR|FXSAVE|XSAVE)/.test(mnemonic)) return savedState(r, mnemonic.startsWith('X'));
  if (/^FRSTOR|^FLDENV/.test(mnemonic)) return environment(r);
  if (isIndirectBranch(parsed) && r.chance(80)) return number(someTarget(draft), size);
  if (/^L[DEFGS]S$/.test(mnemonic) && !size) return far(draft);
  if (mnemonic === 'MOV' && parsed.operands[0].type === 'S') return number(BigInt(someSelector(r)), 2);
  if (mnemonic === 'FBLD' && r.chance(80)) return decimal(r);
  if (/LDMXCSR/.test(mnemonic) && r.chance(85)) return Uint8Array.from([r.u32(), r.u32(), 0, 0]);
  if (mnemonic === 'FLDCW' && r.chance(85))
    return Uint8Array.from([0x7f & ~(r.chance(30) ? r.below(64) : 0), r.u32() & 0x1f]);
  return elements(r, size === 10 ? 'extended' : parsed.row.unit ? someKind(r, taste) : 'qwords', Math.max(size, 1));
}

function number(value: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function far({ r, instruction }: Draft): Uint8Array {
  const bytes = r.bytes(10);
  bytes.set(number(BigInt(someSelector(r)), 2), instruction?.variant.osize);
  return bytes;
}

/** An FXSAVE image, mostly legal; with the XSAVE header and the upper YMM halves behind it. */
function savedState(r: Random, extended: boolean): Uint8Array {
  const bytes = extended && r.chance(50) ? r.bytes(832) : elements(r, 'extended', 832);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(0, r.u32() & 0x1f7f, true);
  view.setUint32(24, r.u32() & (r.chance(95) ? 0xffff : 0x1ffff), true);
  view.setUint32(28, 0xffff, true);
  bytes.fill(0, 512, 576);
  view.setUint8(512, r.below(8));
  if (r.chance(5)) view.setUint8(513 + r.below(63), 1);
  return bytes;
}

function environment(r: Random): Uint8Array {
  const bytes = elements(r, 'extended', 112);
  for (let i = 0; i < 28; i += 2) {
    bytes[i] = r.u32();
    bytes[i + 1] = r.u32();
  }
  bytes[0] |= 0x40;
  if (r.chance(70)) bytes[0] = 0x7f;
  return bytes;
}

function decimal(r: Random): Uint8Array {
  const bytes = new Uint8Array(10);
  const digits = r.below(10);
  for (let i = 0; i < digits; i++) bytes[i] = r.below(10) | (r.below(10) << 4);
  bytes[9] = r.pick([0, 0x80]);
  return bytes;
}

/** Makes the ModRM (or moffs) operand lie at a chosen address. */
function setUpMemory(draft: Draft, instruction: Instruction, width: number): void {
  const { r, mode, parsed } = draft;
  const { mnemonic } = parsed.row;
  if (/^(FXRSTOR|XRSTOR|FXSAVE|XSAVE|FRSTOR|FLDENV|FN?SAVE|FN?STENV)/.test(mnemonic)) width = 832;
  let target = BigInt(
    width > 512 && r.chance(85) ? r.pick([0x8000, 0x8040, 0xb080, 0xb100]) : randomAddress(r, Math.max(width, 1)),
  );
  if (width === 16 && r.chance(60)) target &= ~15n;
  if (width === 32 && r.chance(60)) target &= ~31n;
  if (mode === 'long64' && r.chance(1)) target = integer(r);
  let offset = target - segmentBase(draft, instruction.segment);
  if (/^BT[RSC]?$/.test(mnemonic) && parsed.operands[1].type === 'G') limitBitOffset(draft, instruction);
  const { memory } = instruction;
  if (!memory) putDisplacement(draft, offset);
  else {
    offset &= (1n << BigInt(instruction.variant.asize * 8)) - 1n;
    if (/GATHER/.test(mnemonic)) setUpGather(draft, instruction, memory, offset);
    else solve(draft, instruction, memory, offset);
  }
  if (target >= 0n && target < 0x10000n) putValue(draft, Number(target), width);
}

/** BT with a register bit offset reaches far: keep it within some hundred bytes of the operand. */
function limitBitOffset(draft: Draft, instruction: Instruction): void {
  if (draft.r.chance(70))
    setGpr(draft.state, instruction.reg, draft.mode, BigInt.asUintN(64, BigInt(draft.r.below(4096) - 2048)));
}

/** Chooses registers and displacement so that the effective address is `offset`, where the form allows it. */
function solve(draft: Draft, instruction: Instruction, memory: MemoryOperand, offset: bigint): void {
  const { base, index } = memory;
  if (base === -2) putDisplacement(draft, offset - BigInt(draft.codeAddress + draft.code.length));
  else if (base >= 0) solveBase(draft, instruction, memory, offset - BigInt(memory.displacement));
  else if (index < 0) putDisplacement(draft, offset);
  else {
    const { asize } = instruction.variant;
    const x = asize === 8 ? BigInt(draft.r.below(0x1000)) : low(gprOf(draft.state, index), asize);
    setLow(draft, index, asize, x);
    putDisplacement(draft, offset - (x << BigInt(memory.scale)));
  }
}

/** Sets the base register so that base + index << scale is `sum`; the base may be the index too. */
function solveBase(draft: Draft, instruction: Instruction, { base, index, scale }: MemoryOperand, sum: bigint): void {
  const { asize } = instruction.variant;
  const value = () => {
    if (index < 0) return sum;
    if (index !== base) return sum - (gprOf(draft.state, index) << BigInt(scale));
    return scale ? sum * inverse(1n + (1n << BigInt(scale))) : low(sum, asize) / 2n;
  };
  setLow(draft, base, asize, value());
}

const putDisplacement = (draft: Draft, value: bigint): void =>
  putNumber(draft.code, draft.encoding.displacement, value);

/** Inverse of an odd number modulo 2^64 (Newton). */
function inverse(n: bigint): bigint {
  let x = n;
  for (let i = 0; i < 6; i++) x = BigInt.asUintN(64, x * (2n - n * x));
  return x;
}

const low = (value: bigint, bytes: number): bigint => BigInt.asUintN(bytes * 8, value);

/** Sets the low `bytes` of a register, keeping what is above. */
function setLow(draft: Draft, i: number, bytes: number, value: bigint): void {
  if (i === 4 && draft.mode === 'code16') bytes = 2;
  const old = gprOf(draft.state, i);
  setGpr(draft.state, i, draft.mode, (old - low(old, bytes)) | low(value, bytes));
}

function putNumber(code: Uint8Array, { offset, length }: { offset: number; length: number }, value: bigint): void {
  for (let i = 0; i < length; i++) code[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

/** Gathers: the base register points at the middle, the index vector holds small numbers, the mask is of full elements. */
function setUpGather(draft: Draft, instruction: Instruction, memory: MemoryOperand, offset: bigint): void {
  const { r, state } = draft;
  const { asize } = instruction.variant;
  if (memory.base >= 0) setLow(draft, memory.base, asize, offset - BigInt(memory.displacement));
  else putDisplacement(draft, offset);
  const wideIndex = /^VP?GATHERQ/.test(draft.parsed.row.mnemonic);
  const start = at.ymm + 32 * Math.max(memory.index, 0);
  for (let i = 0; i < 32; i += wideIndex ? 8 : 4) {
    const value = r.chance(96) ? r.below(256) - 128 : r.u32() | 0;
    if (wideIndex) state.setBigInt64(start + i, BigInt(value), true);
    else state.setInt32(start + i, value, true);
  }
}

/** Something to pop. */
function setUpStack(draft: Draft): void {
  const { r, state, mode } = draft;
  if (!r.chance(60)) return;
  const wide16 = mode === 'code16' && state.getUint16(at.segments + 2, true) !== selectors.data;
  const top = Number(low(gprOf(state, 4), wide16 ? 2 : 4));
  const other = r.pick([() => someTarget(draft), () => BigInt(r.u32() & 0x4_4ed5), () => integer(r)])();
  const value = /^[A-Z]S$/.test(draft.parsed.row.operands) ? BigInt(someSelector(r)) : other;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  putBytes(draft, top, bytes);
}
