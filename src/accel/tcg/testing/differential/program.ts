/**
 * Makes small programs: rows of the table one behind the other, with forward
 * branches, a call, and a loop around all of it. What one instruction leaves for
 * the next (lazy flags, fused pairs, registers in locals) shows here.
 */
import {
  decode,
  state as fields,
  type Instruction,
  type ParsedRow,
  parseRow,
  type Row,
} from '../../../../target/index.ts';
import { ruleNames } from './differences.ts';
import { encode } from './encode.ts';
import { type Generator, modeFlags } from './generate.ts';
import { Random } from './random.ts';
import { randomState, setGpr } from './random-state.ts';
import { at, codeBase, type Mode, type TestCase } from './record.ts';
import type { ElementKind } from './values.ts';

/** RBX points at data, RSP at the stack, RBP counts the loop: no instruction of a program writes them. */
const reserved = [3, 4, 5];
const dataPointer = 3;

/** Not in programs: what changes those registers, leaves the straight line, reads AF (undefined after logic), or unmasks exceptions. */
const unfitNames = new Set([
  ...ruleNames,
  ...'AAA AAS DAA DAS LAHF PUSHF POPF POPA LEAVE ENTER BOUND INTO XLAT UD0 UD1 UD2 CLI STI STC STD CLD'.split(' '),
  ...'LDMXCSR VLDMXCSR FLDCW FLDENV FRSTOR FNSTENV FNSAVE FXSAVE XSAVE WRFSBASE WRGSBASE LDS LES VMASKMOVPS'.split(' '),
]);

const isFitRow = ({ row, operands }: ParsedRow): boolean =>
  !unfitNames.has(row.mnemonic) &&
  !row.ends &&
  !row.privileged &&
  !row.shadow &&
  row.size64 !== 'branch' &&
  !operands.some((o) => 'XYOSCDJA'.includes(o.type)) &&
  !/^(IN|OUT)S?B?$/.test(row.mnemonic);

/** What a program's case says it is a case of. */
const pseudoRow: Row = {
  mnemonic: 'PROGRAM',
  pattern: 'CC',
  operands: '',
  semantics: () => {},
  undefinedFlags: fields.flag.AF,
};
const pseudo: ParsedRow = parseRow(pseudoRow, -1);

interface Item {
  readonly bytes: Uint8Array;
  readonly text: string;
  /** A branch over the next so many items, or a call of the subroutine. */
  readonly skip?: number;
  readonly call?: true;
}

export function generateProgram(g: Generator, number: number): TestCase {
  const r = new Random(g.seed ^ 0x5eed, number);
  const mode: Mode = r.chance(75) ? 'long64' : 'code32';
  const rows = g.rows.filter((p) => isFitRow(p) && p.row.mode !== (mode === 'long64' ? 'no64' : 'only64'));
  const kind = r.pick<ElementKind>(['bytes', 'words', 'dwords', 'qwords', 'single', 'double', 'random']);
  const state = randomState(r, mode, { kind, x87: false, sse: true });
  const codeAddress = codeBase + 0x20 + r.below(0x1d00);
  // Mostly instructions of one unit, as programs are.
  const unit = r.pick([undefined, undefined, 'sse', 'avx', 'x87', 'mmx']);
  const own = rows.filter((p) => p.row.unit === unit);
  const pick = () => r.pick(r.chance(80) && own.length > 0 ? own : rows);
  const body: Item[] = [];
  for (let length = 0; length < 4 + r.below(180); length = sizeOf(body)) body.push(...makeItems(g, pick(), mode, r));
  const subroutine = [...makeItems(g, pick(), mode, r), ...makeItems(g, pick(), mode, r)];
  const { code, listing } = assemble(body, subroutine, r.chance(80));
  setUp(state, mode, codeAddress, r);
  return { number, parsed: pseudo, instruction: undefined, mode, state, codeAddress, code, patches: [], listing };
}

const sizeOf = (items: readonly Item[]): number => items.reduce((sum, item) => sum + item.bytes.length, 0);

/** One instruction; behind it a CMP where it leaves flags undefined; sometimes a branch in front. */
function makeItems(g: Generator, parsed: ParsedRow, mode: Mode, r: Random): Item[] {
  const bytes = encodeFit(g, parsed, mode, r);
  if (!bytes) return [];
  const items: Item[] = [];
  if (r.chance(15)) items.push(branch(r));
  else if (r.chance(3)) items.push({ bytes: Uint8Array.of(0xe8, 0, 0, 0, 0), text: 'CALL', call: true });
  items.push({ bytes, text: `${parsed.row.mnemonic} (${parsed.row.pattern}) ${parsed.row.operands}` });
  if ((parsed.row.undefinedFlags ?? 0) & ~fields.flag.AF) {
    items.push({ bytes: Uint8Array.of(0x39, 0xc0 | r.below(64)), text: 'CMP' });
  }
  return items;
}

function branch(r: Random): Item {
  const condition = r.below(16);
  return { bytes: Uint8Array.of(0x70 | condition, 0), text: `J${condition.toString(16)}`, skip: 1 + r.below(3) };
}

/** An encoding whose memory operand, if any, is RBX with a displacement into the data page, and that leaves the reserved registers alone. */
function encodeFit(g: Generator, parsed: ParsedRow, mode: Mode, r: Random): Uint8Array | undefined {
  for (let attempt = 0; attempt < 60; attempt++) {
    const { bytes, displacement } = encode(parsed, mode, r);
    const decoded = decode(g.table, g.features, modeFlags[mode], bytes, 0, bytes.length);
    if (typeof decoded !== 'object' || decoded.parsed !== parsed || decoded.length !== bytes.length) continue;
    if (!isFitInstruction(decoded)) continue;
    if (decoded.memory) {
      const offset = 32 * r.below(displacement.length === 1 ? 4 : 16);
      for (let i = 0; i < displacement.length; i++) bytes[displacement.offset + i] = (offset >> (8 * i)) & 0xff;
    }
    return bytes;
  }
  return undefined;
}

function isFitInstruction(decoded: Instruction): boolean {
  const { memory, parsed, variant } = decoded;
  if (memory && (memory.base !== dataPointer || memory.index !== -1 || decoded.segment !== 3 || variant.asize < 4))
    return false;
  return parsed.operands.every(({ type, size }) => {
    if (!'EGRZB'.includes(type) || (type === 'E' && memory)) return true;
    const number = type === 'G' ? decoded.reg : type === 'Z' ? decoded.plus : type === 'B' ? decoded.vvvv : decoded.rm;
    const isHighByte = size.startsWith('b') && !decoded.rex && number >= 4;
    return !reserved.includes(isHighByte ? number - 4 : number);
  });
}

/** `top:` body, loop, INT3, subroutine. */
function assemble(
  body: readonly Item[],
  subroutine: readonly Item[],
  looping: boolean,
): { code: Uint8Array; listing: string[] } {
  const loop: Item[] = looping
    ? [
        { bytes: Uint8Array.of(0xff, 0xcd), text: 'DEC EBP' },
        { bytes: Uint8Array.of(0x0f, 0x85, 0, 0, 0, 0), text: 'JNZ top' },
      ]
    : [];
  const items = [
    ...body,
    ...loop,
    { bytes: Uint8Array.of(0xcc), text: 'INT3' },
    ...subroutine,
    { bytes: Uint8Array.of(0xc3), text: 'RET' },
  ];
  const offsets = items.map((_, i) => sizeOf(items.slice(0, i)));
  const code = new Uint8Array(sizeOf(items));
  const view = new DataView(code.buffer);
  const subroutineAt = offsets[body.length + loop.length + 1];
  items.forEach((item, i) => {
    code.set(item.bytes, offsets[i]);
    const end = offsets[i] + item.bytes.length;
    // A branch of the last items leads no further than the end of its part.
    const last = i < body.length ? body.length : items.length - 1;
    if (item.skip) view.setInt8(end - 1, offsets[Math.min(i + 1 + item.skip, last)] - end);
    // A call within the subroutine is one of the next instruction: it only pushes.
    if (item.call) view.setInt32(end - 4, i < body.length ? subroutineAt - end : 0, true);
    if (item.text === 'JNZ top') view.setInt32(end - 4, -end, true);
  });
  const listing = items.map(({ text }, i) => {
    const hex = Array.from(code.subarray(offsets[i], offsets[i] + items[i].bytes.length), (b) =>
      b.toString(16).padStart(2, '0'),
    );
    return `${offsets[i].toString(16).padStart(3, '0')} ${hex.join(' ').padEnd(32)} ${text}`;
  });
  return { code, listing };
}

function setUp(state: DataView, mode: Mode, codeAddress: number, r: Random): void {
  setGpr(state, dataPointer, mode, BigInt(0x8000 + 32 * r.below(64)));
  setGpr(state, 4, mode, 0x9800n);
  setGpr(state, 5, mode, BigInt(r.pick([1, 2, 3, 10, 60, 60, 1000])));
  state.setBigUint64(at.rip, BigInt(codeAddress), true);
  state.setUint32(at.rflags, state.getUint32(at.rflags, true) & ~0x40500, true);
  state.setUint32(at.mxcsr, state.getUint32(at.mxcsr, true) | 0x1f80, true);
  state.setUint16(at.fcw, state.getUint16(at.fcw, true) | 0x3f, true);
  state.setUint16(at.fsw, state.getUint16(at.fsw, true) & 0x7f00, true);
}
