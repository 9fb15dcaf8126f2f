/** A case in the making, and the simple things that are done to it. */
import type { Instruction, ParsedRow } from '../../../../target/index.ts';
import type { Encoding } from './encode.ts';
import type { Random } from './random.ts';
import { gprOf, setGpr, type Taste } from './random-state.ts';
import { at, codeBase, imageOffset, ldt, type Mode, type Patch, pageSize, selectors } from './record.ts';

/** What is being made. */
export interface Draft {
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

export const isExtendedSave = ({ row }: ParsedRow): boolean => /^X(SAVE|RSTOR)/.test(row.mnemonic);

export const isIndirectBranch = ({ row, operands }: ParsedRow): boolean =>
  /^(JMP|CALL)$/.test(row.mnemonic) && operands[0]?.type === 'E';

/** Base of a segment in this state. */
export function segmentBase(draft: Draft, segment: number): bigint {
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

/** Null, of the GDT, of the LDT, or any. */
export function someSelector(r: Random): number {
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
export const someTarget = ({ r, mode, codeAddress }: Draft): bigint =>
  BigInt(codeAddress - (mode === 'code16' ? codeBase : 0) + 16 + r.below(64));

/** Adds patches for `bytes` at `address`, cut at page borders. */
export function putBytes(draft: Draft, address: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const start = address + done;
    const length = Math.min(bytes.length - done, pageSize - (start & (pageSize - 1)));
    if (imageOffset(start) >= 0) draft.patches.push({ address: start, bytes: bytes.slice(done, done + length) });
    done += length;
  }
}

export const low = (value: bigint, bytes: number): bigint => BigInt.asUintN(bytes * 8, value);

/** Sets the low `bytes` of a register, keeping what is above. */
export function setLow(draft: Draft, i: number, bytes: number, value: bigint): void {
  if (i === 4 && draft.mode === 'code16') bytes = 2;
  const old = gprOf(draft.state, i);
  setGpr(draft.state, i, draft.mode, (old - low(old, bytes)) | low(value, bytes));
}

export function putNumber(
  code: Uint8Array,
  { offset, length }: { offset: number; length: number },
  value: bigint,
): void {
  for (let i = 0; i < length; i++) code[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}
