/** Integer arithmetic and logic: ADD to CMP, INC, NEG, MUL, DIV, BCD (SDM vol. 2). */
import {
  add,
  and,
  constLike,
  convert,
  divS,
  divU,
  type Expr,
  eq,
  eqz,
  geU,
  gtU,
  type IntSize,
  i32,
  i64,
  ltS,
  mul,
  ne,
  op,
  or,
  remS,
  remU,
  select,
  shl,
  shrS,
  shrU,
  signExtend,
  sub,
  toI32,
  toI64,
  xor,
  zeroExtend,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { flag, gpr, vector } from '../state.ts';
import { type Row, row } from './row.ts';

/** Operand width as an integer size. */
export const size = (b: X86Builder, i: number): IntSize => b.width(i) as IntSize;
const undefinedAf = { undefinedFlags: flag.AF };

type Combine = (b: X86Builder, left: Expr, right: Expr, width: IntSize) => Expr;

const addition: Combine = (b, left, right, width) => {
  const result = b.let(zeroExtend(width, add(left, right)));
  b.setFlags('add', width, result, right, left);
  return result;
};

const subtraction: Combine = (b, left, right, width) => {
  const result = b.let(zeroExtend(width, sub(left, right)));
  b.setFlags('sub', width, result, right, left);
  return result;
};

/** ADC and SBB: without a carry in they are ADD and SUB. */
const withCarry =
  (kind: 'add' | 'sub'): Combine =>
  (b, left, right, width) => {
    const carry = b.let(b.condition(2));
    const wide = width === 8 ? toI64(carry) : carry;
    const partial = kind === 'add' ? add(left, right) : sub(left, right);
    const result = b.let(zeroExtend(width, kind === 'add' ? add(partial, wide) : sub(partial, wide)));
    b.if(
      carry,
      () => b.setFlags(kind === 'add' ? 'adc' : 'sbb', width, result, right),
      () => b.setFlags(kind, width, result, right),
    );
    b.forgetFlags();
    return result;
  };

const logic =
  (apply: (x: Expr, y: Expr) => Expr): Combine =>
  (b, left, right, width) => {
    const result = b.let(apply(left, right));
    b.setFlags('logic', width, result, constLike(result, 0));
    return result;
  };

const binary =
  (combine: Combine): Semantics =>
  (b) => {
    const right = b.let(b.read(1));
    b.modify(0, (left) => combine(b, left, right, size(b, 0)));
  };

const compare =
  (combine: Combine): Semantics =>
  (b) => {
    const left = b.let(b.read(0));
    combine(b, left, b.let(b.read(1)), size(b, 0));
  };

/** The eight operations of opcodes 00–3F and 80–83, by number. */
const operations: readonly [string, Semantics][] = [
  ['ADD', binary(addition)],
  ['OR', binary(logic(or))],
  ['ADC', binary(withCarry('add'))],
  ['SBB', binary(withCarry('sub'))],
  ['AND', binary(logic(and))],
  ['SUB', binary(subtraction)],
  ['XOR', binary(logic(xor))],
  ['CMP', compare(subtraction)],
];

const byte = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');

function group1(): Row[] {
  return operations.flatMap(([name, semantics], n) => {
    const lock = name === 'CMP' ? {} : ({ lock: true } as const);
    const logicFlags = ['OR', 'AND', 'XOR'].includes(name) ? undefinedAf : {};
    const base = n * 8;
    return [
      row(name, `${byte(base)} /r`, 'Eb,Gb', semantics, { ...lock, ...logicFlags }),
      row(name, `${byte(base + 1)} /r`, 'Ev,Gv', semantics, { ...lock, ...logicFlags }),
      row(name, `${byte(base + 2)} /r`, 'Gb,Eb', semantics, logicFlags),
      row(name, `${byte(base + 3)} /r`, 'Gv,Ev', semantics, logicFlags),
      row(name, byte(base + 4), 'AL,Ib', semantics, logicFlags),
      row(name, byte(base + 5), 'rAX,Iz', semantics, logicFlags),
      row(name, `80 /${n}`, 'Eb,Ib', semantics, { ...lock, ...logicFlags }),
      row(name, `81 /${n}`, 'Ev,Iz', semantics, { ...lock, ...logicFlags }),
      row(name, `82 /${n}`, 'Eb,Ib', semantics, { ...lock, ...logicFlags, mode: 'no64' }),
      row(name, `83 /${n}`, 'Ev,Ib', semantics, { ...lock, ...logicFlags }),
    ];
  });
}

/** INC and DEC keep CF. */
const step =
  (by: 1 | -1): Semantics =>
  (b) =>
    b.modify(0, (old) => {
      const width = size(b, 0);
      const result = b.let(zeroExtend(width, add(old, constLike(old, by))));
      b.setStepFlags(by === 1 ? 'inc' : 'dec', width, result);
      return result;
    });

const negate: Semantics = (b) =>
  b.modify(0, (old) => {
    const width = size(b, 0);
    const result = b.let(zeroExtend(width, sub(constLike(old, 0), old)));
    b.setFlags('sub', width, result, old, constLike(old, 0));
    return result;
  });

const not: Semantics = (b) => b.modify(0, (old) => xor(old, constLike(old, -1)));

/** High 64 bits of an unsigned product, from 32-bit halves. */
export function mulHighU(b: X86Builder, x: Expr, y: Expr): Expr {
  const mask = i64(0xffffffffn);
  const [xl, xh, yl, yh] = [and(x, mask), shrU(x, i64(32)), and(y, mask), shrU(y, i64(32))].map((e) => b.let(e));
  const low = b.let(mul(xl, yl));
  const mid = b.let(add(mul(xh, yl), shrU(low, i64(32))));
  const mid2 = b.let(add(mul(xl, yh), and(mid, mask)));
  return b.let(add(add(mul(xh, yh), shrU(mid, i64(32))), shrU(mid2, i64(32))));
}

function mulHighS(b: X86Builder, x: Expr, y: Expr): Expr {
  const high = mulHighU(b, x, y);
  const fixX = and(shrS(x, i64(63)), y);
  const fixY = and(shrS(y, i64(63)), x);
  return b.let(sub(sub(high, fixX), fixY));
}

/** CF = OF = the high half is significant; the others as the low half gives them. */
function multiplyFlags(b: X86Builder, width: IntSize, low: Expr, significant: Expr): void {
  b.setFlags('result', width, low, or(significant, shl(significant, i32(11))));
}

const mulUndefined = { undefinedFlags: flag.SF | flag.ZF | flag.AF | flag.PF };

/** One-operand MUL and IMUL: rDX:rAX = rAX × operand. */
const multiply =
  (signed: boolean): Semantics =>
  (b) => {
    const width = size(b, 0);
    const right = b.let(b.read(0));
    if (width === 8) {
      const left = b.get(gpr[0]);
      const low = b.let(mul(left, right));
      const high = signed ? mulHighS(b, left, right) : mulHighU(b, left, right);
      b.put(gpr[0], low);
      b.put(gpr[2], high);
      multiplyFlags(b, 8, low, signed ? ne(high, shrS(low, i64(63))) : ne(high, i64(0)));
      return;
    }
    const left = b.getAt(i32(gpr[0].offset), 0, 'i32', width);
    const wide = (e: Expr) => convert(e, width, 8, signed);
    const product = b.let(mul(wide(left), wide(right)));
    const low = b.let(zeroExtend(width, toI32(product)));
    const high = b.let(zeroExtend(width, toI32(shrU(product, i64(width * 8)))));
    if (width === 1) b.putAt(i32(gpr[0].offset), 0, toI32(product), 2);
    else {
      writeRegister(b, 0, width, low);
      writeRegister(b, 2, width, high);
    }
    multiplyFlags(b, width, low, ne(product, signed ? convert(low, width, 8, true) : toI64(low)));
  };

/** Writes a general register by number. */
export function writeRegister(b: X86Builder, number: number, width: number, value: Expr): void {
  if (width === 4) b.put(gpr[number], toI64(value));
  else if (width === 8) b.put(gpr[number], value);
  else b.putAt(i32(gpr[number].offset), 0, value, width);
}

/** Reads a general register by number, zero-extended. */
export function readRegister(b: X86Builder, number: number, width: number): Expr {
  return b.getAt(i32(gpr[number].offset), 0, width === 8 ? 'i64' : 'i32', width);
}

const multiply2 =
  (left: number, right: number): Semantics =>
  (b) => {
    const width = size(b, 0);
    const [x, y] = [b.let(b.read(left)), b.let(b.read(right))];
    if (width === 8) {
      const low = b.let(mul(x, y));
      const high = mulHighS(b, x, y);
      b.write(0, low);
      multiplyFlags(b, 8, low, ne(high, shrS(low, i64(63))));
      return;
    }
    const product = b.let(mul(convert(x, width, 8, true), convert(y, width, 8, true)));
    const low = b.let(zeroExtend(width, toI32(product)));
    b.write(0, low);
    multiplyFlags(b, width, low, ne(product, convert(low, width, 8, true)));
  };

const allFlags = { undefinedFlags: flag.CF | flag.PF | flag.AF | flag.ZF | flag.SF | flag.OF };

/** DIV and IDIV up to 32 bits fit a 64-bit division. */
function divideNarrow(b: X86Builder, width: IntSize, signed: boolean, divisorRaw: Expr): void {
  const bits = width * 8;
  const divisor = b.let(convert(divisorRaw, width, 8, signed));
  b.if(op('i64.eqz', divisor), () => b.raise(vector.DE));
  const dividend = b.let(
    width === 1
      ? toI64(readRegister(b, 0, 2))
      : or(toI64(readRegister(b, 0, width)), shl(toI64(readRegister(b, 2, width)), i64(bits))),
  );
  const value = b.let(width === 4 || !signed ? dividend : convert(toI32(dividend), (width * 2) as IntSize, 8, true));
  if (signed && width === 4) {
    // The one 64-bit quotient that overflows also overflows 32 bits.
    b.if(and(eq(value, i64(-(1n << 63n))), eq(divisor, i64(-1))), () => b.raise(vector.DE));
  }
  const quotient = b.let(signed ? divS(value, divisor) : divU(value, divisor));
  const remainder = b.let(signed ? remS(value, divisor) : remU(value, divisor));
  const fits = signed ? eq(quotient, signExtend(width, quotient)) : eq(quotient, zeroExtend(width, quotient));
  b.if(eqz(fits), () => b.raise(vector.DE));
  if (width === 1)
    b.putAt(
      i32(gpr[0].offset),
      0,
      or(and(toI32(quotient), i32(0xff)), shl(and(toI32(remainder), i32(0xff)), i32(8))),
      2,
    );
  else {
    writeRegister(b, 0, width, toI32(quotient));
    writeRegister(b, 2, width, toI32(remainder));
  }
}

/** 128 by 64 bits, unsigned, by shift and subtract; `high` < `divisor`. Returns [quotient, remainder]. */
function divide128(b: X86Builder, high: Expr, low: Expr, divisor: Expr): [Expr, Expr] {
  const [h, l] = [b.variable(high), b.variable(low)];
  b.if(
    op('i64.eqz', high),
    () => {
      b.set(h, remU(low, divisor));
      b.set(l, divU(low, divisor));
    },
    () => {
      const n = b.variable(i32(64));
      b.loop((again) => {
        const carry = b.let(shrU(h, i64(63)));
        b.set(h, or(shl(h, i64(1)), shrU(l, i64(63))));
        b.set(l, shl(l, i64(1)));
        b.if(or(toI32(carry), geU(h, divisor)), () => {
          b.set(h, sub(h, divisor));
          b.set(l, or(l, i64(1)));
        });
        b.set(n, sub(n, i32(1)));
        b.if(n, again);
      });
    },
  );
  return [l, h];
}

function divideWide(b: X86Builder, signed: boolean, divisor: Expr): void {
  b.if(op('i64.eqz', divisor), () => b.raise(vector.DE));
  const low = b.get(gpr[0]);
  const high = b.get(gpr[2]);
  if (!signed) {
    b.if(geU(high, divisor), () => b.raise(vector.DE));
    const [quotient, remainder] = divide128(b, high, low, divisor);
    b.put(gpr[0], quotient);
    b.put(gpr[2], remainder);
    return;
  }
  const negative = b.let(ltS(high, i64(0)));
  const divisorNegative = b.let(ltS(divisor, i64(0)));
  const absLow = b.let(select(negative, sub(i64(0), low), low));
  const absHigh = b.let(select(negative, sub(xor(high, i64(-1)), toI64(ne(low, i64(0)))), high));
  // -(h:l) = (~h + (l == 0)):(-l); written as above: ~h - (l != 0) + 1.
  const fixedHigh = b.let(select(negative, add(absHigh, i64(1)), absHigh));
  const absDivisor = b.let(select(divisorNegative, sub(i64(0), divisor), divisor));
  b.if(geU(fixedHigh, absDivisor), () => b.raise(vector.DE));
  const [quotient, remainder] = divide128(b, fixedHigh, absLow, absDivisor);
  const minus = b.let(xor(negative, divisorNegative));
  const limit = select(minus, i64(-(1n << 63n)), i64((1n << 63n) - 1n));
  b.if(gtU(quotient, limit), () => b.raise(vector.DE));
  b.put(gpr[0], select(minus, sub(i64(0), quotient), quotient));
  b.put(gpr[2], select(negative, sub(i64(0), remainder), remainder));
}

const divide =
  (signed: boolean): Semantics =>
  (b) => {
    const width = size(b, 0);
    const divisor = b.let(b.read(0));
    if (width === 8) divideWide(b, signed, divisor);
    else divideNarrow(b, width, signed, divisor);
  };

/** DAA and DAS (SDM pseudo-code). */
const decimalAdjust =
  (sign: 1 | -1): Semantics =>
  (b) => {
    const flags = b.let(b.getFlags());
    const al = readRegister(b, 0, 1);
    const carryIn = b.let(and(flags, i32(1)));
    const lowFix = b.let(or(ltS(i32(9), and(al, i32(15))), and(shrU(flags, i32(4)), i32(1))));
    const highFix = b.let(or(ltS(i32(0x99), al), carryIn));
    const correction = add(mul(lowFix, i32(6)), mul(highFix, i32(0x60)));
    const result = b.let(and(sign === 1 ? add(al, correction) : sub(al, correction), i32(0xff)));
    const borrow = sign === -1 ? and(lowFix, ltS(al, i32(6))) : i32(0);
    b.putAt(i32(gpr[0].offset), 0, result, 1);
    b.setFlags('result', 1, result, or(or(highFix, borrow), shl(lowFix, i32(4))));
  };

/** AAA and AAS. */
const asciiAdjust =
  (sign: 1 | -1): Semantics =>
  (b) => {
    const flags = b.let(b.getFlags());
    const ax = readRegister(b, 0, 2);
    const fix = b.let(or(ltS(i32(9), and(ax, i32(15))), and(shrU(flags, i32(4)), i32(1))));
    const changed = sign === 1 ? add(ax, mul(fix, i32(0x106))) : sub(ax, mul(fix, i32(0x106)));
    const result = b.let(and(changed, i32(0xff0f)));
    b.putAt(i32(gpr[0].offset), 0, result, 2);
    b.setFlags('result', 1, and(result, i32(0xff)), or(fix, shl(fix, i32(4))));
  };

const aam: Semantics = (b) => {
  const base = b.let(and(b.immediate(0), i32(0xff)));
  b.if(eqz(base), () => b.raise(vector.DE));
  const al = readRegister(b, 0, 1);
  const low = b.let(remU(al, base));
  b.putAt(i32(gpr[0].offset), 0, or(shl(divU(al, base), i32(8)), low), 2);
  b.setFlags('result', 1, low, i32(0));
};

const aad: Semantics = (b) => {
  const ax = readRegister(b, 0, 2);
  const low = b.let(and(add(ax, mul(shrU(ax, i32(8)), b.immediate(0))), i32(0xff)));
  b.putAt(i32(gpr[0].offset), 0, low, 2);
  b.setFlags('result', 1, low, i32(0));
};

const xadd: Semantics = (b) => {
  const source = b.let(b.read(1));
  let before: Expr = source;
  b.modify(0, (old) => {
    before = b.let(old);
    if (!b.memory) b.write(1, before);
    return addition(b, before, source, size(b, 0));
  });
  if (b.memory) b.write(1, before);
};

const cmpxchg: Semantics = (b) => {
  const width = size(b, 0);
  const source = b.let(b.read(1));
  const accumulator = readRegister(b, 0, width);
  const current = b.variable(accumulator);
  const equal = b.variable(i32(0));
  b.modify(0, (old) => {
    b.set(current, old);
    b.set(equal, eq(old, accumulator));
    return select(equal, source, old);
  });
  const result = b.let(zeroExtend(width, sub(accumulator, current)));
  b.setFlags('sub', width, result, current, accumulator);
  b.if(
    equal,
    () => {},
    () => writeRegister(b, 0, width, current),
  );
};

/** CMPXCHG8B and CMPXCHG16B: the pair rDX:rAX against memory. */
const cmpxchgPair =
  (half: 4 | 8): Semantics =>
  (b) => {
    const address = b.let(b.address(0, half * 2, true));
    if (half === 8) b.if(and(toI32(address), i32(15)), () => b.raise(vector.GP));
    const second = b.let(add(address, i64(half)));
    b.probeWrite(address, half * 2);
    const low = b.load(address, half);
    const high = b.load(second, half);
    const equal = b.let(and(eq(low, readRegister(b, 0, half)), eq(high, readRegister(b, 2, half))));
    b.store(address, half, select(equal, readRegister(b, 3, half), low));
    b.store(second, half, select(equal, readRegister(b, 1, half), high));
    b.if(
      equal,
      () => {},
      () => {
        writeRegister(b, 0, half, low);
        writeRegister(b, 2, half, high);
      },
    );
    b.putFlags(or(and(b.getFlags(), i32(~flag.ZF)), shl(equal, i32(6))));
  };

const test: Semantics = compare(logic(and));

export const arithmeticRows: readonly Row[] = [
  ...group1(),
  row('TEST', '84 /r', 'Eb,Gb', test, undefinedAf),
  row('TEST', '85 /r', 'Ev,Gv', test, undefinedAf),
  row('TEST', 'A8', 'AL,Ib', test, undefinedAf),
  row('TEST', 'A9', 'rAX,Iz', test, undefinedAf),
  row('TEST', 'F6 /0', 'Eb,Ib', test, undefinedAf),
  row('TEST', 'F6 /1', 'Eb,Ib', test, undefinedAf),
  row('TEST', 'F7 /0', 'Ev,Iz', test, undefinedAf),
  row('TEST', 'F7 /1', 'Ev,Iz', test, undefinedAf),
  row('INC', 'FE /0', 'Eb', step(1), { lock: true }),
  row('DEC', 'FE /1', 'Eb', step(-1), { lock: true }),
  row('INC', 'FF /0', 'Ev', step(1), { lock: true }),
  row('DEC', 'FF /1', 'Ev', step(-1), { lock: true }),
  row('INC', '40+r', 'Zv', step(1), { mode: 'no64' }),
  row('DEC', '48+r', 'Zv', step(-1), { mode: 'no64' }),
  row('NOT', 'F6 /2', 'Eb', not, { lock: true }),
  row('NOT', 'F7 /2', 'Ev', not, { lock: true }),
  row('NEG', 'F6 /3', 'Eb', negate, { lock: true }),
  row('NEG', 'F7 /3', 'Ev', negate, { lock: true }),
  row('MUL', 'F6 /4', 'Eb', multiply(false), mulUndefined),
  row('MUL', 'F7 /4', 'Ev', multiply(false), mulUndefined),
  row('IMUL', 'F6 /5', 'Eb', multiply(true), mulUndefined),
  row('IMUL', 'F7 /5', 'Ev', multiply(true), mulUndefined),
  row('IMUL', '0F AF /r', 'Gv,Ev', multiply2(0, 1), mulUndefined),
  row('IMUL', '69 /r', 'Gv,Ev,Iz', multiply2(1, 2), mulUndefined),
  row('IMUL', '6B /r', 'Gv,Ev,Ib', multiply2(1, 2), mulUndefined),
  row('DIV', 'F6 /6', 'Eb', divide(false), allFlags),
  row('DIV', 'F7 /6', 'Ev', divide(false), allFlags),
  row('IDIV', 'F6 /7', 'Eb', divide(true), allFlags),
  row('IDIV', 'F7 /7', 'Ev', divide(true), allFlags),
  row('XADD', '0F C0 /r', 'Eb,Gb', xadd, { lock: true }),
  row('XADD', '0F C1 /r', 'Ev,Gv', xadd, { lock: true }),
  row('CMPXCHG', '0F B0 /r', 'Eb,Gb', cmpxchg, { lock: true }),
  row('CMPXCHG', '0F B1 /r', 'Ev,Gv', cmpxchg, { lock: true }),
  row('CMPXCHG8B', 'W0 0F C7 /1', 'Mq', cmpxchgPair(4), { lock: true, cpuid: 'cx8' }),
  row('CMPXCHG16B', 'W1 0F C7 /1', 'Mdq', cmpxchgPair(8), { lock: true, cpuid: 'cx16' }),
  row('DAA', '27', '', decimalAdjust(1), { mode: 'no64', undefinedFlags: flag.OF }),
  row('DAS', '2F', '', decimalAdjust(-1), { mode: 'no64', undefinedFlags: flag.OF }),
  row('AAA', '37', '', asciiAdjust(1), { mode: 'no64', undefinedFlags: flag.OF | flag.SF | flag.ZF | flag.PF }),
  row('AAS', '3F', '', asciiAdjust(-1), { mode: 'no64', undefinedFlags: flag.OF | flag.SF | flag.ZF | flag.PF }),
  row('AAM', 'D4', 'Ib', aam, { mode: 'no64', undefinedFlags: flag.OF | flag.AF | flag.CF }),
  row('AAD', 'D5', 'Ib', aad, { mode: 'no64', undefinedFlags: flag.OF | flag.AF | flag.CF }),
];
