/** Sets up what an instruction works on: counts, pointers, and memory operands where a test page is. */
import { type Instruction, type MemoryOperand, operandShape } from '../../../../target/index.ts';
import {
  type Draft,
  isExtendedSave,
  isIndirectBranch,
  low,
  putBytes,
  putNumber,
  segmentBase,
  setLow,
  someSelector,
  someTarget,
} from './draft.ts';
import { putValue } from './memory-value.ts';
import { gprOf, randomAddress, setGpr } from './random-state.ts';
import { at, selectors } from './record.ts';
import { integer } from './values.ts';

export function setUpOperands(draft: Draft, instruction: Instruction): void {
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

/** Makes register `i` (of the address size) point at data for `size` bytes in `segment`. */
function pointAt(draft: Draft, i: number, segment: number, asize: number, size: number): void {
  const { r, state, mode } = draft;
  const target = BigInt(randomAddress(r, size));
  const mask = asize === 8 ? (1n << 64n) - 1n : asize === 4 ? 0xffff_ffffn : 0xffffn;
  setGpr(state, i, mode, (gprOf(state, i) & ~mask) | ((target - segmentBase(draft, segment)) & mask));
  putValue(draft, Number(target), size);
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
export function setUpStack(draft: Draft): void {
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
