/** x87 arithmetic and comparison (SDM vol. 1, 8.3.5, 8.3.6; vol. 2, FADD to FXTRACT). */
import { and, type Expr, eq, eqz, type IntSize, i32, i64, ltS, or, select, shl } from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { fpuStatus } from '../state.ts';
import { type Row, row } from './row.ts';
import { relationBits } from './x87-library.ts';
import { fromInteger } from './x87-move.ts';
import {
  clean,
  type Extended,
  isEmpty,
  memoryOperand,
  pop,
  readSt,
  remember,
  result,
  setConditions,
  statusBits,
} from './x87-stack.ts';

const unit = { unit: 'x87', cpuid: 'fpu' } as const;
const st0 = i32(0);

/** A short memory operand widened, with DE's bit if it is denormal. */
interface MemoryValue {
  readonly offset: Expr;
  readonly value: Extended;
  readonly denormal: Expr;
}
type ReadValue = (b: X86Builder) => MemoryValue;

const floatOperand =
  (size: 4 | 8): ReadValue =>
  (b) => {
    const { offset, linear } = memoryOperand(b, size, false);
    const raw = b.load(linear, size);
    const { value, flags } = clean(b, () => result(b, b.call(size === 4 ? 'f32_widen_f80' : 'f64_widen_f80', raw)));
    return { offset, value, denormal: flags };
  };
const integerOperand =
  (size: IntSize): ReadValue =>
  (b) => {
    const { offset, linear } = memoryOperand(b, size, false);
    return { offset, value: fromInteger(b, size, b.load(linear, size)), denormal: i32(0) };
  };

type Arithmetic = 'add' | 'mul' | 'sub' | 'div';
/** Mnemonic behind F or FI, ModRM's digit, operation, operands reversed. */
const operations: readonly (readonly [name: string, digit: number, operation: Arithmetic, reverse: boolean])[] = [
  ['ADD', 0, 'add', false],
  ['MUL', 1, 'mul', false],
  ['SUB', 4, 'sub', false],
  ['SUBR', 5, 'sub', true],
  ['DIV', 6, 'div', false],
  ['DIVR', 7, 'div', true],
];

const withMemory = (operation: Arithmetic, reverse: boolean, read: ReadValue) => (b: X86Builder) => {
  const { offset, value, denormal } = read(b);
  b.call(`x87_${operation}_value`, value.significand, value.exponent, denormal, i32(reverse ? 1 : 0));
  remember(b, offset);
};

/** ST(target) ← ST(x) op ST(y), one of which is STi (operand `at`). */
const withRegister =
  (operation: Arithmetic, at: number, order: 'st0-sti' | 'sti-st0', target: 'st0' | 'sti', pops: boolean) =>
  (b: X86Builder) => {
    const i = b.registerOffset(at);
    const [x, y] = order === 'st0-sti' ? [st0, i] : [i, st0];
    const stored = b.call(`x87_${operation}`, x, y, target === 'st0' ? st0 : i);
    if (pops) b.if(stored, () => pop(b));
    remember(b);
  };

const hex = (value: number) => value.toString(16).toUpperCase();

function arithmeticForms([name, digit, operation, reverse]: (typeof operations)[number]): Row[] {
  const at = hex(0xc0 + digit * 8);
  // In the forms that write ST(i) the digits of the reversed operations are swapped.
  const swapped = hex(0xc0 + (digit < 4 ? digit : digit ^ 1) * 8);
  const toSt0 = withRegister(operation, 1, reverse ? 'sti-st0' : 'st0-sti', 'st0', false);
  const toSti = (pops: boolean) => withRegister(operation, 0, reverse ? 'st0-sti' : 'sti-st0', 'sti', pops);
  return [
    row(`F${name}`, `D8 /${digit}`, 'Md', withMemory(operation, reverse, floatOperand(4)), unit),
    row(`F${name}`, `DC /${digit}`, 'Mq', withMemory(operation, reverse, floatOperand(8)), unit),
    row(`FI${name}`, `DA /${digit}`, 'Md', withMemory(operation, reverse, integerOperand(4)), unit),
    row(`FI${name}`, `DE /${digit}`, 'Mw', withMemory(operation, reverse, integerOperand(2)), unit),
    row(`F${name}`, `D8 =${at}+i`, 'ST0,STi', toSt0, unit),
    row(`F${name}`, `DC =${swapped}+i`, 'STi,ST0', toSti(false), unit),
    row(`F${name}P`, `DE =${swapped}+i`, 'STi,ST0', toSti(true), unit),
  ];
}

// ---- comparison ----

/** Takes a relation into C3, C2, C0 and pops, unless an unmasked exception forbids that. */
function takeRelation(b: X86Builder, relation: Expr, pops: number): void {
  setConditions(b, shl(and(relation, i32(relationBits.image)), i32(8)));
  popUnlessBlocked(b, relation, pops);
}

function popUnlessBlocked(b: X86Builder, relation: Expr, pops: number): void {
  if (pops === 0) return;
  b.if(eqz(and(relation, i32(relationBits.blocked))), () => {
    for (let i = 0; i < pops; i++) pop(b);
  });
}

const compareMemory = (pops: number, read: ReadValue) => (b: X86Builder) => {
  const { offset, value, denormal } = read(b);
  takeRelation(b, b.call('x87_relation_value', value.significand, value.exponent, denormal), pops);
  remember(b, offset);
};

const compareRegister =
  (pops: number, signalling: boolean, other: (b: X86Builder) => Expr = (b) => b.registerOffset(0)) =>
  (b: X86Builder) => {
    takeRelation(b, b.call('x87_relation', st0, other(b), i32(signalling ? 1 : 0)), pops);
    remember(b);
  };

/** C1 stays as it was, but for a stack fault. */
const compareToFlags = (pops: number, signalling: boolean) => (b: X86Builder) => {
  const C1 = b.let(and(b.get(fpuStatus), i32(statusBits.C1)));
  const relation = b.call('x87_relation', st0, b.registerOffset(1), i32(signalling ? 1 : 0));
  b.putFlags(and(relation, i32(relationBits.image)));
  b.if(eqz(and(relation, i32(relationBits.stackFault))), () => b.put(fpuStatus, or(b.get(fpuStatus), C1)));
  popUnlessBlocked(b, relation, pops);
  remember(b);
};

function testZero(b: X86Builder): void {
  takeRelation(b, b.call('x87_relation_value', i64(0), i32(0), i32(0)), 0);
  remember(b);
}

/** FXAM (SDM vol. 2, FXAM, table "FXAM Results"). */
function examine(b: X86Builder): void {
  const { C0, C1, C2, C3 } = statusBits;
  const st = readSt(b, st0);
  const exponent = b.let(and(st.exponent, i32(0x7fff)));
  const integerBit = b.let(ltS(st.significand, i64(0)));
  const special = select(integerBit, select(eqz(shl(st.significand, i64(1))), i32(C2 | C0), i32(C0)), i32(0));
  const zeroOrDenormal = select(eqz(st.significand), i32(C3), i32(C3 | C2));
  const normal = select(integerBit, i32(C2), i32(0));
  const kind = select(eqz(exponent), zeroOrDenormal, select(eq(exponent, i32(0x7fff)), special, normal));
  setConditions(
    b,
    or(select(isEmpty(b, st0), i32(C3 | C0), kind), select(and(st.exponent, i32(0x8000)), i32(C1), i32(0))),
  );
  remember(b);
}

const sti = (mnemonic: string, patterns: string[], semantics: (b: X86Builder) => void): Row[] =>
  patterns.map((p) => row(mnemonic, `${p}+i`, 'STi', semantics, unit));
const memoryForms = (
  digit: number,
): readonly (readonly [prefix: string, pattern: string, operand: string, read: ReadValue])[] => [
  ['F', `D8 /${digit}`, 'Md', floatOperand(4)],
  ['F', `DC /${digit}`, 'Mq', floatOperand(8)],
  ['FI', `DA /${digit}`, 'Md', integerOperand(4)],
  ['FI', `DE /${digit}`, 'Mw', integerOperand(2)],
];

/** Instructions that are one call of a library function on ST(0), perhaps with ST(1). */
const calling =
  (name: string, ...args: Expr[]) =>
  (b: X86Builder) => {
    b.call(name, ...args);
    remember(b);
  };

export const x87ArithmeticRows: readonly Row[] = [
  ...operations.flatMap(arithmeticForms),
  ...memoryForms(2).map(([prefix, pattern, operand, read]) =>
    row(`${prefix}COM`, pattern, operand, compareMemory(0, read), unit),
  ),
  ...memoryForms(3).map(([prefix, pattern, operand, read]) =>
    row(`${prefix}COMP`, pattern, operand, compareMemory(1, read), unit),
  ),
  // Where there are several encodings all but the first are undocumented aliases.
  ...sti('FCOM', ['D8 =D0', 'DC =D0'], compareRegister(0, true)),
  ...sti('FCOMP', ['D8 =D8', 'DC =D8', 'DE =D0'], compareRegister(1, true)),
  row(
    'FCOMPP',
    'DE =D9',
    '',
    compareRegister(2, true, () => i32(1)),
    unit,
  ),
  ...sti('FUCOM', ['DD =E0'], compareRegister(0, false)),
  ...sti('FUCOMP', ['DD =E8'], compareRegister(1, false)),
  row(
    'FUCOMPP',
    'DA =E9',
    '',
    compareRegister(2, false, () => i32(1)),
    unit,
  ),
  row('FCOMI', 'DB =F0+i', 'ST0,STi', compareToFlags(0, true), { ...unit, cpuid: 'cmov' }),
  row('FCOMIP', 'DF =F0+i', 'ST0,STi', compareToFlags(1, true), { ...unit, cpuid: 'cmov' }),
  row('FUCOMI', 'DB =E8+i', 'ST0,STi', compareToFlags(0, false), { ...unit, cpuid: 'cmov' }),
  row('FUCOMIP', 'DF =E8+i', 'ST0,STi', compareToFlags(1, false), { ...unit, cpuid: 'cmov' }),
  row('FTST', 'D9 =E4', '', testZero, unit),
  row('FXAM', 'D9 =E5', '', examine, unit),
  row('FSQRT', 'D9 =FA', '', calling('x87_sqrt'), unit),
  row('FRNDINT', 'D9 =FC', '', calling('x87_round'), unit),
  row('FSCALE', 'D9 =FD', '', calling('x87_scale', st0, i32(1), st0), unit),
  row('FXTRACT', 'D9 =F4', '', calling('x87_extract'), unit),
  row('FPREM', 'D9 =F8', '', calling('x87_remainder', i32(0)), unit),
  row('FPREM1', 'D9 =F5', '', calling('x87_remainder', i32(1)), unit),
];
