/**
 * Makes test cases from the instruction table: a random encoding of a row, a
 * random state, and registers solved so that memory operands meet the test pages.
 */
import {
  decode,
  type Feature,
  type Instruction,
  type InstructionTable,
  modeBits,
  type ParsedRow,
} from '../../../../target/index.ts';
import { type Draft, isExtendedSave } from './draft.ts';
import { type Encoding, encode } from './encode.ts';
import { setUpOperands, setUpStack } from './operands.ts';
import { Random } from './random.ts';
import { randomState, type Taste } from './random-state.ts';
import { at, codeBase, codeSize, type Mode, pageSize, type TestCase } from './record.ts';
import type { ElementKind } from './values.ts';

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
