/** x87 loads, stores, constants and register moves (SDM vol. 1, 8.3.3, 8.3.4; vol. 2, FLD to FXCH). */
import {
  add,
  and,
  type Builder,
  type Expr,
  eqz,
  type IntSize,
  i32,
  i64,
  type LibraryFunction,
  mul,
  op,
  or,
  select,
  shl,
  shrU,
  signExtend,
  sub,
  toI32,
  toI64,
  xor,
} from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { floatExponent, floatFlags, fpuControl } from '../state.ts';
import { type Row, row } from './row.ts';
import {
  clean,
  clearC1,
  complete,
  type Extended,
  freeSt,
  indefinite,
  isEmpty,
  memoryOperand,
  pop,
  push,
  readSt,
  remember,
  result,
  rotateTop,
  storeResult,
  underflow,
  unlessEmpty,
  writeSt,
} from './x87-stack.ts';

const unit = { unit: 'x87', cpuid: 'fpu' } as const;
const st0 = i32(0);

// ---- loads ----

/** FLD from memory: `convert` turns what was read into an 80-bit value, raising into clean flags. */
const load = (size: IntSize, convert: (b: Builder, raw: Expr) => Extended) => (b: X86Builder) => {
  const { offset, linear } = memoryOperand(b, size, false);
  const raw = b.load(linear, size);
  const { value, flags } = clean(b, () => convert(b, raw));
  push(b, value, flags);
  remember(b, offset);
};
const loadFloat = (size: 4 | 8) =>
  load(size, (b, raw) => result(b, b.call(size === 4 ? 'f32_to_f80' : 'f64_to_f80', raw)));

/** A signed integer of `size` bytes as an 80-bit value. */
export const fromInteger = (b: Builder, size: IntSize, raw: Expr): Extended =>
  result(b, b.call('i64_to_f80', size === 8 ? raw : op('i64.extend_i32_s', signExtend(size, raw))));
const loadInteger = (size: 2 | 4 | 8) => load(size, (b, raw) => fromInteger(b, size, raw));

/** The ten bytes of the memory operand: low 8, high 2. */
function loadTen(b: X86Builder): { offset: Expr; low: Expr; high: Expr } {
  const { offset, linear } = memoryOperand(b, 10, false);
  return { offset, low: b.load(linear, 8), high: b.load(add(linear, i64(8)), 2) };
}

function loadExtended(b: X86Builder): void {
  const { offset, low, high } = loadTen(b);
  push(b, { significand: low, exponent: high }, i32(0));
  remember(b, offset);
}

function loadBcd(b: X86Builder): void {
  const { offset, low, high } = loadTen(b);
  const magnitude = b.call('bcd_to_i64', low, high);
  const value = result(b, b.call('i64_to_f80', magnitude));
  push(b, { significand: value.significand, exponent: b.let(or(value.exponent, and(high, i32(0x8000)))) }, i32(0));
  remember(b, offset);
}

function loadRegister(b: X86Builder): void {
  const i = b.registerOffset(0);
  const empty = b.let(isEmpty(b, i));
  const value = readSt(b, i);
  const flags = b.let(select(empty, i32(underflow), i32(0)));
  const significand = b.let(select(empty, indefinite.significand, value.significand));
  push(b, { significand, exponent: b.let(select(empty, indefinite.exponent, value.exponent)) }, flags);
  remember(b);
}

// ---- stores ----

/**
 * Stores ST(0) in memory. An unmasked stack underflow, invalid operation, overflow or underflow keeps memory and stack
 * as they were, and then inexactness is not reported (SDM vol. 1, 8.5.4, 8.5.5).
 */
function storeMemory(
  b: X86Builder,
  size: number,
  pops: boolean,
  convert: (st: Extended) => Expr,
  indefiniteValue: Expr,
  write: (linear: Expr, value: Expr) => void,
): void {
  const { offset, linear } = memoryOperand(b, size, true);
  const value = b.variable(indefiniteValue);
  const flags = b.variable(i32(underflow));
  b.if(eqz(isEmpty(b, st0)), () => {
    const converted = clean(b, () => convert(readSt(b, st0)));
    b.set(value, converted.value);
    b.set(flags, converted.flags);
  });
  const blocked = b.let(and(flags, and(xor(b.get(fpuControl), i32(-1)), i32(0x19))));
  b.if(
    blocked,
    () => {
      b.probeWrite(linear, size);
      b.set(flags, and(flags, i32(0x5f)));
    },
    () => write(linear, value),
  );
  remember(b, offset);
  complete(b, flags);
  if (pops) b.if(eqz(blocked), () => pop(b));
}

const storeFloat = (size: 4 | 8, pops: boolean) => (b: X86Builder) => {
  const convert = (st: Extended) =>
    b.call(size === 4 ? 'f80_to_f32' : 'f80_to_f64', st.significand, st.exponent, b.get(fpuControl));
  const nan = size === 4 ? i32(0xffc00000) : i64(0xfff8n << 48n);
  storeMemory(b, size, pops, convert, nan, (linear, value) => b.store(linear, size, value));
};

const storeInteger =
  (size: 2 | 4 | 8, pops: boolean, truncates = false) =>
  (b: X86Builder) => {
    const control = () => (truncates ? or(b.get(fpuControl), i32(0xc00)) : b.get(fpuControl));
    const convert = (st: Extended) => b.call(`f80_to_i${size * 8}`, st.significand, st.exponent, control());
    const least = size === 8 ? i64(1n << 63n) : i32(size === 4 ? 1 << 31 : 0x8000);
    storeMemory(b, size, pops, convert, least, (linear, value) => b.store(linear, size, value));
  };

/** Ten bytes; the upper two are in state `floatExponent`. */
function storeTen(b: X86Builder, linear: Expr, low: Expr): void {
  b.store(linear, 8, low);
  b.store(add(linear, i64(8)), 2, b.get(floatExponent));
}

function storeExtended(b: X86Builder): void {
  const convert = (st: Extended) => {
    b.put(floatExponent, st.exponent);
    return st.significand;
  };
  b.put(floatExponent, indefinite.exponent);
  storeMemory(b, 10, true, convert, indefinite.significand, (linear, low) => {
    b.probeWrite(linear, 10);
    storeTen(b, linear, low);
  });
}

const bcdIndefinite = { low: 0xc000_0000_0000_0000n, high: 0xffff };

function storeBcd(b: X86Builder): void {
  b.put(floatExponent, i32(bcdIndefinite.high));
  const convert = (st: Extended) => b.call('f80_to_bcd', st.significand, st.exponent, b.get(fpuControl));
  storeMemory(b, 10, true, convert, i64(bcdIndefinite.low), (linear, low) => {
    b.probeWrite(linear, 10);
    storeTen(b, linear, low);
  });
}

const storeRegister = (pops: boolean) => (b: X86Builder) => {
  const i = b.registerOffset(0);
  const stored = unlessEmpty(b, [st0], i, () => storeResult(b, i, readSt(b, st0), i32(0)));
  if (pops) b.if(stored, () => pop(b));
  remember(b);
};

/** D9 D8+i, "no check for empty": without an exception an empty ST(0) is popped and not stored. */
function storeUnchecked(b: X86Builder): void {
  b.if(eqz(isEmpty(b, st0)), () => writeSt(b, b.registerOffset(0), readSt(b, st0)));
  pop(b);
  clearC1(b);
  remember(b);
}

// ---- packed BCD (SDM vol. 1, 4.7): 18 digits, sign in the top bit of the tenth byte ----

const maxBcd = 10n ** 18n - 1n;

const bcdFunctions: readonly LibraryFunction[] = [
  {
    name: 'bcd_to_i64',
    params: ['i64', 'i32'],
    result: 'i64',
    body(b, low, high) {
      const upper = add(mul(and(shrU(high, i32(4)), i32(15)), i32(10)), and(high, i32(15)));
      const value = b.variable(toI64(upper));
      const left = b.variable(i32(16));
      b.loop((again) => {
        b.set(value, add(mul(value, i64(10)), shrU(low, i64(60))));
        b.set(low, shl(low, i64(4)));
        b.set(left, sub(left, i32(1)));
        b.if(left, again);
      });
      return value;
    },
  },
  {
    // Low 8 bytes; the upper 2 go to `floatExponent`.
    name: 'f80_to_bcd',
    params: ['i64', 'i32', 'i32'],
    result: 'i64',
    body(b, significand, exponent, control) {
      const integer = b.call('f80_to_i64', significand, exponent, control);
      const sign = b.let(and(exponent, i32(0x8000)));
      const rest = b.variable(select(sign, sub(i64(0), integer), integer));
      const low = b.variable(i64(bcdIndefinite.low));
      const high = b.variable(i32(bcdIndefinite.high));
      b.if(
        op('i64.gt_u', rest, i64(maxBcd)),
        () => b.put(floatFlags, i32(1)),
        () => {
          const digits = b.variable(i32(16));
          const digit = () => {
            const value = b.let(op('i64.rem_u', rest, i64(10)));
            b.set(rest, op('i64.div_u', rest, i64(10)));
            return value;
          };
          b.set(low, i64(0));
          b.loop((again) => {
            b.set(low, or(shrU(low, i64(4)), shl(digit(), i64(60))));
            b.set(digits, sub(digits, i32(1)));
            b.if(digits, again);
          });
          b.set(high, or(sign, or(toI32(digit()), shl(toI32(digit()), i32(4)))));
        },
      );
      b.put(floatExponent, high);
      return low;
    },
  },
];

// ---- constants (SDM vol. 2, FLD1 ...): rounded as the rounding control says, C1 = 0 ----

/** Truncated significands; those that are nearer to the next one say so. */
const constants: readonly (readonly [
  mnemonic: string,
  modrm: string,
  exponent: number,
  significand: bigint,
  nearestIsUp: boolean,
])[] = [
  ['FLD1', 'E8', 0x3fff, 1n << 63n, false],
  ['FLDL2T', 'E9', 0x4000, 0xd49a784bcd1b8afen, false],
  ['FLDL2E', 'EA', 0x3fff, 0xb8aa3b295c17f0bbn, true],
  ['FLDPI', 'EB', 0x4000, 0xc90fdaa22168c234n, true],
  ['FLDLG2', 'EC', 0x3ffd, 0x9a209a84fbcff798n, true],
  ['FLDLN2', 'ED', 0x3ffe, 0xb17217f7d1cf79abn, true],
  ['FLDZ', 'EE', 0, 0n, false],
];

const loadConstant = (exponent: number, significand: bigint, nearestIsUp: boolean) => (b: X86Builder) => {
  const inexact = BigInt.asUintN(62, significand) !== 0n;
  const mode = b.let(and(shrU(b.get(fpuControl), i32(10)), i32(3)));
  const up = nearestIsUp ? or(eqz(mode), eqz(xor(mode, i32(2)))) : eqz(xor(mode, i32(2)));
  push(
    b,
    { significand: inexact ? b.let(add(i64(significand), toI64(up))) : i64(significand), exponent: i32(exponent) },
    i32(0),
  );
  remember(b);
};

// ---- register moves ----

function exchange(b: X86Builder): void {
  b.call('x87_exchange', b.registerOffset(0));
  remember(b);
}

const conditionalMove = (condition: number) => (b: X86Builder) => {
  const i = b.registerOffset(1);
  const taken = b.let(b.condition(condition));
  unlessEmpty(b, [st0, i], st0, () => {
    b.if(taken, () => writeSt(b, st0, readSt(b, i)));
    return i32(1);
  });
  remember(b);
};

/** FABS and FCHS: the sign alone, of whatever is in ST(0). */
const changeSign = (change: (exponent: Expr) => Expr) => (b: X86Builder) => {
  unlessEmpty(b, [st0], st0, () => {
    const st = readSt(b, st0);
    return storeResult(b, st0, { significand: st.significand, exponent: b.let(change(st.exponent)) }, i32(0));
  });
  remember(b);
};

const free = (pops: boolean) => (b: X86Builder) => {
  freeSt(b, b.registerOffset(0));
  if (pops) pop(b);
  clearC1(b);
  remember(b);
};

const rotate = (by: 1 | -1) => (b: X86Builder) => {
  rotateTop(b, by);
  clearC1(b);
  remember(b);
};

const sti = (
  mnemonic: string,
  patterns: string[],
  semantics: (b: X86Builder) => void,
  options: Partial<Row> = {},
): Row[] => patterns.map((p) => row(mnemonic, `${p}+i`, 'STi', semantics, { ...unit, ...options }));

const conditionalMoves = [
  'DA =C0 2 B',
  'DA =C8 4 E',
  'DA =D0 6 BE',
  'DA =D8 10 U',
  'DB =C0 3 NB',
  'DB =C8 5 NE',
  'DB =D0 7 NBE',
  'DB =D8 11 NU',
].map((text) => {
  const [opcode, modrm, condition, name] = text.split(' ');
  return row(`FCMOV${name}`, `${opcode} ${modrm}+i`, 'ST0,STi', conditionalMove(Number(condition)), {
    ...unit,
    cpuid: 'cmov',
  });
});

export const x87MoveLibrary: readonly LibraryFunction[] = bcdFunctions;

export const x87MoveRows: readonly Row[] = [
  row('FLD', 'D9 /0', 'Md', loadFloat(4), unit),
  row('FLD', 'DD /0', 'Mq', loadFloat(8), unit),
  row('FLD', 'DB /5', 'Mt', loadExtended, unit),
  row('FILD', 'DF /0', 'Mw', loadInteger(2), unit),
  row('FILD', 'DB /0', 'Md', loadInteger(4), unit),
  row('FILD', 'DF /5', 'Mq', loadInteger(8), unit),
  row('FBLD', 'DF /4', 'Mt', loadBcd, unit),
  row('FST', 'D9 /2', 'Md', storeFloat(4, false), unit),
  row('FSTP', 'D9 /3', 'Md', storeFloat(4, true), unit),
  row('FST', 'DD /2', 'Mq', storeFloat(8, false), unit),
  row('FSTP', 'DD /3', 'Mq', storeFloat(8, true), unit),
  row('FSTP', 'DB /7', 'Mt', storeExtended, unit),
  row('FIST', 'DF /2', 'Mw', storeInteger(2, false), unit),
  row('FISTP', 'DF /3', 'Mw', storeInteger(2, true), unit),
  row('FIST', 'DB /2', 'Md', storeInteger(4, false), unit),
  row('FISTP', 'DB /3', 'Md', storeInteger(4, true), unit),
  row('FISTP', 'DF /7', 'Mq', storeInteger(8, true), unit),
  row('FISTTP', 'DF /1', 'Mw', storeInteger(2, true, true), { ...unit, cpuid: 'sse3' }),
  row('FISTTP', 'DB /1', 'Md', storeInteger(4, true, true), { ...unit, cpuid: 'sse3' }),
  row('FISTTP', 'DD /1', 'Mq', storeInteger(8, true, true), { ...unit, cpuid: 'sse3' }),
  row('FBSTP', 'DF /6', 'Mt', storeBcd, unit),
  ...constants.map(([mnemonic, modrm, ...value]) => row(mnemonic, `D9 =${modrm}`, '', loadConstant(...value), unit)),
  // Where there are several encodings all but the first are undocumented aliases.
  ...sti('FLD', ['D9 =C0'], loadRegister),
  ...sti('FST', ['DD =D0'], storeRegister(false)),
  ...sti('FSTP', ['DD =D8', 'DF =D0', 'DF =D8'], storeRegister(true)),
  ...sti('FSTPNCE', ['D9 =D8'], storeUnchecked),
  ...sti('FXCH', ['D9 =C8', 'DD =C8', 'DF =C8'], exchange),
  ...sti('FFREE', ['DD =C0'], free(false)),
  ...sti('FFREEP', ['DF =C0'], free(true)),
  ...conditionalMoves,
  row(
    'FCHS',
    'D9 =E0',
    '',
    changeSign((e) => xor(e, i32(0x8000))),
    unit,
  ),
  row(
    'FABS',
    'D9 =E1',
    '',
    changeSign((e) => and(e, i32(0x7fff))),
    unit,
  ),
  row('FDECSTP', 'D9 =F6', '', rotate(-1), unit),
  row('FINCSTP', 'D9 =F7', '', rotate(1), unit),
  row('FNOP', 'D9 =D0', '', (b) => remember(b), unit),
];
