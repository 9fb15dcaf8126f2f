/**
 * The instructions that get a case of their own in the interpreter's loop: those
 * that a Debian kernel's boot and common user programs execute most (together
 * about 97 % of all; counted by handler over a boot). All are 64-bit mode.
 */
import {
  type InstructionTable,
  normalizeVariant,
  type ParsedRow,
  type Variant,
  variantKey,
} from '../../target/index.ts';

export interface HotCase {
  readonly parts: readonly { readonly parsed: ParsedRow; readonly variant: Variant }[];
  /** Every `row:variant` key (two for a pair) that this case serves. */
  readonly keys: readonly string[];
}

/** Pattern, operands, and the forms: operand size in bytes, r(egister) or m(emory). */
const singles: readonly (readonly [pattern: string, operands: string, forms: string])[] = [
  ['89 /r', 'Ev,Gv', '8r 4r 8m 4m 2m'],
  ['8B /r', 'Gv,Ev', '8m 4m'],
  ['88 /r', 'Eb,Gb', '4m'],
  ['8A /r', 'Gb,Eb', '4m'],
  ['8D /r', 'Gv,M', '8r 4r'],
  ['B8+r', 'Zv,Iv', '4r 8r'],
  ['C7 /0', 'Ev,Iz', '8r 4m 8m'],
  ['C6 /0', 'Eb,Ib', '4m'],
  ['63 /r', 'Gv,Ed', '8r 8m'],
  ['0F B6 /r', 'Gv,Eb', '4r 4m'],
  ['0F B7 /r', 'Gv,Ew', '4m 4r'],
  ['0F BE /r', 'Gv,Eb', '4m 4r'],
  ['50+r', 'Zv', '8r'],
  ['58+r', 'Zv', '8r'],
  ['01 /r', 'Ev,Gv', '8r 4r'],
  ['03 /r', 'Gv,Ev', '8m 4m'],
  ['83 /0', 'Ev,Ib', '8r 4r 4m'],
  ['81 /0', 'Ev,Iz', '8r'],
  ['05', 'rAX,Iz', '8r'],
  ['29 /r', 'Ev,Gv', '8r 4r'],
  ['2B /r', 'Gv,Ev', '8m'],
  ['83 /5', 'Ev,Ib', '8r 4r'],
  ['11 /r', 'Ev,Gv', '8r'],
  ['83 /2', 'Ev,Ib', '8r'],
  ['21 /r', 'Ev,Gv', '8r 4r'],
  ['23 /r', 'Gv,Ev', '8m 4m'],
  ['83 /4', 'Ev,Ib', '8r 4r'],
  ['81 /4', 'Ev,Iz', '8r 4r'],
  ['25', 'rAX,Iz', '4r'],
  ['09 /r', 'Ev,Gv', '8r 4r'],
  ['0B /r', 'Gv,Ev', '8m 4m'],
  ['83 /1', 'Ev,Ib', '4r'],
  ['31 /r', 'Ev,Gv', '8r 4r'],
  ['33 /r', 'Gv,Ev', '8m 4m'],
  ['39 /r', 'Ev,Gv', '8r 4r 8m 4m'],
  ['3B /r', 'Gv,Ev', '8m 4m'],
  ['83 /7', 'Ev,Ib', '8r 4r 8m 4m'],
  ['81 /7', 'Ev,Iz', '8r 4r'],
  ['3C', 'AL,Ib', '4r'],
  ['80 /7', 'Eb,Ib', '4r 4m'],
  ['3A /r', 'Gb,Eb', '4m'],
  ['38 /r', 'Eb,Gb', '4r'],
  ['84 /r', 'Eb,Gb', '4r'],
  ['85 /r', 'Ev,Gv', '8r 4r'],
  ['A8', 'AL,Ib', '4r'],
  ['F6 /0', 'Eb,Ib', '4r 4m'],
  ['F7 /0', 'Ev,Iz', '4r'],
  ['FF /0', 'Ev', '8r 4r 4m'],
  ['FF /1', 'Ev', '8r 4r 4m'],
  ['F7 /2', 'Ev', '8r 4r'],
  ['F7 /3', 'Ev', '8r 4r'],
  ['0F AF /r', 'Gv,Ev', '8r 4r'],
  ['C1 /4', 'Ev,Ib', '8r 4r'],
  ['C1 /5', 'Ev,Ib', '8r 4r'],
  ['C1 /7', 'Ev,Ib', '8r 4r'],
  ['D1 /5', 'Ev,1', '8r 4r'],
  ['D1 /7', 'Ev,1', '8r'],
  ['C1 /0', 'Ev,Ib', '4r 8r'],
  ['C1 /1', 'Ev,Ib', '4r'],
  ['0F 1F /r', 'Ev', '4m'],
  ['90', '', '4r'],
  ['C3', '', '8r'],
  ['E8', 'Jz', '8r'],
  ['EB', 'Jb', '8r'],
  ['E9', 'Jz', '8r'],
  ['FF /2', 'Ev', '8m 8r'],
  ['FF /4', 'Ev', '8r 8m'],
  ['C9', '', '8r'],
  ['98', '', '8r'],
  ['0F 92 /r', 'Eb', '4r'],
  ['0F 94 /r', 'Eb', '4r'],
  ['0F 95 /r', 'Eb', '4r'],
  ['0F 42 /r', 'Gv,Ev', '8r 4r'],
  ['0F 43 /r', 'Gv,Ev', '8r 4r'],
  ['0F 44 /r', 'Gv,Ev', '8r 4r'],
  ['0F 45 /r', 'Gv,Ev', '8r 4r'],
  ['0F 48 /r', 'Gv,Ev', '8r'],
];

/** Comparisons that are fused with the conditional jump behind them. */
const comparisons: readonly (readonly [string, string, string])[] = [
  ['39 /r', 'Ev,Gv', '8r 4r'],
  ['3B /r', 'Gv,Ev', '8m'],
  ['83 /7', 'Ev,Ib', '8r 4r 4m'],
  ['81 /7', 'Ev,Iz', '4r'],
  ['3C', 'AL,Ib', '4r'],
  ['80 /7', 'Eb,Ib', '4m'],
  ['84 /r', 'Eb,Gb', '4r'],
  ['85 /r', 'Ev,Gv', '8r 4r'],
  ['F6 /0', 'Eb,Ib', '4r 4m'],
  ['A8', 'AL,Ib', '4r'],
  ['83 /0', 'Ev,Ib', '8r'],
  ['83 /5', 'Ev,Ib', '8r 4r'],
  ['FF /1', 'Ev', '4r'],
];
/** Condition codes worth fusing; short and near jumps share a case. */
const fusedConditions = [2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15];
/** TEST and friends leave CF and OF clear: only these conditions occur. */
const logicConditions = [4, 5, 8, 9, 14, 15];

const byte = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');

/** The cases, in the order of the switch. */
export function hotCases(table: InstructionTable): HotCase[] {
  const find = (pattern: string, operands: string): ParsedRow => {
    const found = table.rows.find(({ row }) => row.pattern === pattern && row.operands === operands);
    if (!found) throw new Error(`no row ${pattern} ${operands}`);
    return found;
  };
  const part = (pattern: string, operands: string, form: string) => {
    const parsed = find(pattern, operands);
    const osize = Number(form[0]) as 2 | 4 | 8;
    const variant = normalizeVariant(parsed, {
      osize,
      asize: 8,
      ssize: 8,
      memory: form[1] === 'm',
      vl: 16,
      vex: false,
      w: osize === 8,
      rep: 0,
      long64: true,
      flat: true,
      ready: true,
    });
    return { parsed, variant, key: `${parsed.id}:${variantKey(variant)}` };
  };
  const short = (code: number) => part(byte(0x70 + code), 'Jb', '8r');
  const near = (code: number) => part(`0F ${byte(0x80 + code)}`, 'Jz', '8r');

  const plain = singles.flatMap(([pattern, operands, forms]) =>
    forms.split(' ').map((form) => {
      const p = part(pattern, operands, form);
      return { parts: [p], keys: [p.key] };
    }),
  );
  const jumps = Array.from({ length: 16 }, (_, code) => ({
    parts: [short(code)],
    keys: [short(code).key, near(code).key],
  }));
  const pairs = comparisons.flatMap(([pattern, operands, forms]) =>
    forms.split(' ').flatMap((form) => {
      const first = part(pattern, operands, form);
      const isTest = first.parsed.row.mnemonic === 'TEST';
      return (isTest ? logicConditions : fusedConditions).map((code) => ({
        parts: [first, short(code)],
        keys: [`${first.key}+${short(code).key}`, `${first.key}+${near(code).key}`],
      }));
    }),
  );
  return [...plain, ...jumps, ...pairs];
}
