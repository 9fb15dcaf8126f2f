/** Shifts, rotates, double shifts and bit operations (SDM vol. 2: SAL/SAR/SHL/SHR, RCL…, SHLD, BT, BSF). */
import {
  and,
  clz,
  constLike,
  convert,
  ctz,
  type Expr,
  eqz,
  type IntSize,
  i32,
  i64,
  op,
  or,
  remU,
  select,
  shl,
  shrS,
  shrU,
  sub,
  toI32,
  toI64,
  xor,
  zeroExtend,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { flag } from '../state.ts';
import { size } from './arithmetic.ts';
import { type Row, row } from './row.ts';

const bit = (value: Expr, index: Expr): Expr =>
  and(toI32(shrU(value, value.type === 'i64' ? toI64(index) : index)), i32(1));
const like = (value: Expr, count: Expr): Expr => (value.type === 'i64' ? toI64(count) : count);

/** The count of a shift: masked to 5 bits, 6 for 64-bit operands. */
function shiftCount(b: X86Builder, i: number, width: IntSize): Expr {
  return b.let(and(b.inMemory(i) ? i32(0) : toI32(b.read(i)), i32(width === 8 ? 63 : 31)));
}

type Shift = (b: X86Builder, value: Expr, count: Expr, width: IntSize) => { result: Expr; carry: Expr; overflow: Expr };

/** Applies a shift whose count of 0 changes neither value nor flags. */
const shift =
  (apply: Shift): Semantics =>
  (b) => {
    const width = size(b, 0);
    const count = shiftCount(b, 1, width);
    b.modify(0, (value) => {
      const { result, carry, overflow } = apply(b, value, count, width);
      const reduced = b.let(zeroExtend(width, result));
      const set = () => b.setFlags('result', width, reduced, or(carry, shl(overflow, i32(11))));
      if (count.kind === 'const') {
        if (count.value) set();
        return count.value ? reduced : value;
      }
      b.if(count, set);
      b.forgetFlags();
      return select(count, reduced, value);
    });
  };

const top = (width: IntSize): number => width * 8 - 1;

/** 8- and 16-bit values are shifted in 32 bits, so that counts up to 31 work. */
const shiftLeft: Shift = (b, value, count, width) => {
  const result = b.let(shl(value, like(value, count)));
  // The last bit shifted out: bit (bits - count) of the value; for narrow widths bit `bits` of the wide result.
  const carry = width >= 4 ? bit(value, sub(i32(width * 8), count)) : bit(result, i32(width * 8));
  const carryBit = b.let(carry);
  return { result, carry: carryBit, overflow: xor(carryBit, bit(result, i32(top(width)))) };
};

const shiftRight: Shift = (b, value, count) => {
  const before = b.let(shrU(value, like(value, sub(count, i32(1)))));
  return {
    result: shrU(before, like(value, i32(1))),
    carry: and(toI32(before), i32(1)),
    overflow: bit(value, i32(value.type === 'i64' ? 63 : top(size(b, 0)))),
  };
};

const shiftArithmetic: Shift = (b, value, count, width) => {
  const signed = b.let(width === 8 ? value : convert(value, width, 4, true));
  const wide = b.let(width < 4 ? signExtendNarrow(value, width) : signed);
  const before = b.let(shrS(wide, like(value, sub(count, i32(1)))));
  return { result: shrS(before, like(value, i32(1))), carry: and(toI32(before), i32(1)), overflow: i32(0) };
};

const signExtendNarrow = (value: Expr, width: IntSize): Expr =>
  op(width === 1 ? 'i32.extend8_s' : 'i32.extend16_s', value);

/** A rotate changes only CF and OF; a count of 0 (after masking) nothing. */
const rotate =
  (left: boolean): Semantics =>
  (b) => {
    const width = size(b, 0);
    const bits = width * 8;
    const count = shiftCount(b, 1, width);
    b.modify(0, (value) => {
      const n = b.let(and(count, i32(bits - 1)));
      const rotated = b.let(
        width >= 4
          ? op(`${value.type}.${left ? 'rotl' : 'rotr'}`, value, like(value, n))
          : rotateNarrow(value, n, bits, left),
      );
      const result = b.let(zeroExtend(width, rotated));
      b.if(count, () => {
        const high = b.let(bit(result, i32(bits - 1)));
        const carry = b.let(left ? and(toI32(result), i32(1)) : high);
        const overflow = left ? xor(carry, high) : xor(high, bit(result, i32(bits - 2)));
        b.overrideFlags(carry, overflow);
      });
      b.forgetFlags();
      return result;
    });
  };

function rotateNarrow(value: Expr, n: Expr, bits: number, left: boolean): Expr {
  const rest = and(sub(i32(bits), n), i32(bits - 1));
  return left ? or(shl(value, n), shrU(value, rest)) : or(shrU(value, n), shl(value, rest));
}

/** RCL and RCR: through CF, one bit at a time; the count is taken modulo bits + 1 for narrow operands. */
const rotateThroughCarry =
  (left: boolean): Semantics =>
  (b) => {
    const width = size(b, 0);
    const bits = width * 8;
    const raw = shiftCount(b, 1, width);
    const count = width < 4 ? b.let(remU(raw, i32(bits + 1))) : raw;
    b.modify(0, (value) => {
      const carry = b.variable(b.condition(2));
      const result = b.variable(value);
      const n = b.variable(count);
      b.loop((again) => {
        b.if(n, () => {
          const out = b.let(left ? bit(result, i32(bits - 1)) : and(toI32(result), i32(1)));
          const one = constLike(value, 1);
          const shifted = left
            ? or(shl(result, one), like(value, carry))
            : or(shrU(result, one), shl(like(value, carry), constLike(value, bits - 1)));
          b.set(result, zeroExtend(width, shifted));
          b.set(carry, out);
          b.set(n, sub(n, i32(1)));
          again();
        });
      });
      b.if(raw, () => {
        const high = b.let(bit(result, i32(bits - 1)));
        b.overrideFlags(carry, left ? xor(carry, high) : xor(high, bit(result, i32(bits - 2))));
      });
      b.forgetFlags();
      return result;
    });
  };

/** SHLD and SHRD. For 16-bit operands a count above 16 is undefined; like AMD and Intel we rotate the 48-bit string. */
const doubleShift =
  (left: boolean): Semantics =>
  (b) => {
    const width = size(b, 0);
    const bits = width * 8;
    const count = shiftCount(b, 2, width);
    const source = b.let(b.read(1));
    b.modify(0, (value) => {
      const result = b.variable(value);
      b.if(count, () => {
        const { shifted, carry } =
          width === 2
            ? doubleShift16(b, value, source, count, left)
            : doubleShiftWide(b, value, source, count, bits, left);
        b.set(result, zeroExtend(width, shifted));
        const overflow = bit(xor(result, value), i32(bits - 1));
        b.setFlags('result', width, result, or(carry, shl(overflow, i32(11))));
      });
      b.forgetFlags();
      return result;
    });
  };

function doubleShiftWide(b: X86Builder, value: Expr, source: Expr, count: Expr, bits: number, left: boolean) {
  const n = like(value, count);
  const rest = like(value, sub(i32(bits), count));
  const shifted = left ? or(shl(value, n), shrU(source, rest)) : or(shrU(value, n), shl(source, rest));
  const carry = b.let(left ? bit(value, sub(i32(bits), count)) : bit(value, sub(count, i32(1))));
  return { shifted, carry };
}

function doubleShift16(b: X86Builder, value: Expr, source: Expr, count: Expr, left: boolean) {
  const wide = left
    ? or(shl(toI64(value), i64(32)), or(shl(toI64(source), i64(16)), toI64(value)))
    : or(or(toI64(value), shl(toI64(source), i64(16))), shl(toI64(value), i64(32)));
  const string = b.let(wide);
  const n = toI64(count);
  const shifted = left ? toI32(shrU(string, sub(i64(32), n))) : toI32(shrU(string, n));
  const carry = b.let(
    left ? and(toI32(shrU(string, sub(i64(48), n))), i32(1)) : and(toI32(shrU(string, sub(n, i64(1)))), i32(1)),
  );
  return { shifted, carry };
}

type BitChange = (value: Expr, mask: Expr) => Expr;

/** BT, BTS, BTR, BTC. A register bit offset reaches beyond a memory operand. */
const bitTest =
  (change: BitChange | undefined): Semantics =>
  (b) => {
    const width = size(b, 0);
    const bits = width * 8;
    const offset = b.let(b.read(1));
    const index = b.let(and(toI32(offset), i32(bits - 1)));
    const apply = (value: Expr): Expr => {
      const carry = b.let(bit(value, index));
      const mask = shl(constLike(value, 1), like(value, index));
      const result = change ? b.let(zeroExtend(width, change(value, mask))) : value;
      b.overrideFlags(carry);
      return result;
    };
    if (!b.inMemory(0)) {
      const result = apply(b.let(b.read(0)));
      if (change) b.write(0, result);
      return;
    }
    const base = b.bitAddress(0, 1, offset, width, change !== undefined);
    if (change) b.modifyMemory(base, width, apply);
    else apply(b.load(base, width));
  };

const bitScan =
  (reverse: boolean): Semantics =>
  (b) => {
    const value = b.let(b.read(1));
    const zero = b.let(eqz(value));
    const index = reverse ? sub(constLike(value, value.type === 'i64' ? 63 : 31), clz(value)) : ctz(value);
    b.if(
      zero,
      () => {},
      () => b.write(0, index),
    );
    b.setFlags('result', size(b, 1), value, i32(0));
  };

const bswap: Semantics = (b) => {
  const value = b.let(b.read(0));
  if (b.width(0) === 2) return b.write(0, i32(0));
  const swap32 = (e: Expr): Expr => {
    const x = b.let(e);
    return or(and(op('i32.rotl', x, i32(8)), i32(0x00ff00ff)), and(op('i32.rotr', x, i32(8)), i32(0xff00ff00 | 0)));
  };
  if (value.type === 'i32') return b.write(0, swap32(value));
  const high = swap32(toI32(value));
  const low = swap32(toI32(shrU(value, i64(32))));
  b.write(0, or(shl(toI64(high), i64(32)), toI64(low)));
};

const set: BitChange = (v, m) => or(v, m);
const reset: BitChange = (v, m) => and(v, xor(m, constLike(m, -1)));
const complement: BitChange = (v, m) => xor(v, m);

const shiftUndefined = { undefinedFlags: flag.AF | flag.OF };
const rotateUndefined = { undefinedFlags: flag.OF };
const bitUndefined = { undefinedFlags: flag.OF | flag.SF | flag.AF | flag.PF | flag.ZF };
const scanUndefined = { undefinedFlags: flag.CF | flag.OF | flag.SF | flag.AF | flag.PF };

function group2(): Row[] {
  const list: [number, string, Semantics, object][] = [
    [0, 'ROL', rotate(true), rotateUndefined],
    [1, 'ROR', rotate(false), rotateUndefined],
    [2, 'RCL', rotateThroughCarry(true), rotateUndefined],
    [3, 'RCR', rotateThroughCarry(false), rotateUndefined],
    [4, 'SHL', shift(shiftLeft), shiftUndefined],
    [5, 'SHR', shift(shiftRight), shiftUndefined],
    [6, 'SHL', shift(shiftLeft), shiftUndefined],
    [7, 'SAR', shift(shiftArithmetic), shiftUndefined],
  ];
  return list.flatMap(([n, name, semantics, options]) => [
    row(name, `C0 /${n}`, 'Eb,Ib', semantics, options),
    row(name, `C1 /${n}`, 'Ev,Ib', semantics, options),
    row(name, `D0 /${n}`, 'Eb,1', semantics, options),
    row(name, `D1 /${n}`, 'Ev,1', semantics, options),
    row(name, `D2 /${n}`, 'Eb,CL', semantics, options),
    row(name, `D3 /${n}`, 'Ev,CL', semantics, options),
  ]);
}

export const shiftRows: readonly Row[] = [
  ...group2(),
  row('SHLD', '0F A4 /r', 'Ev,Gv,Ib', doubleShift(true), shiftUndefined),
  row('SHLD', '0F A5 /r', 'Ev,Gv,CL', doubleShift(true), shiftUndefined),
  row('SHRD', '0F AC /r', 'Ev,Gv,Ib', doubleShift(false), shiftUndefined),
  row('SHRD', '0F AD /r', 'Ev,Gv,CL', doubleShift(false), shiftUndefined),
  row('BT', '0F A3 /r', 'Ev,Gv', bitTest(undefined), bitUndefined),
  row('BTS', '0F AB /r', 'Ev,Gv', bitTest(set), { ...bitUndefined, lock: true }),
  row('BTR', '0F B3 /r', 'Ev,Gv', bitTest(reset), { ...bitUndefined, lock: true }),
  row('BTC', '0F BB /r', 'Ev,Gv', bitTest(complement), { ...bitUndefined, lock: true }),
  row('BT', '0F BA /4', 'Ev,Ib', bitTest(undefined), bitUndefined),
  row('BTS', '0F BA /5', 'Ev,Ib', bitTest(set), { ...bitUndefined, lock: true }),
  row('BTR', '0F BA /6', 'Ev,Ib', bitTest(reset), { ...bitUndefined, lock: true }),
  row('BTC', '0F BA /7', 'Ev,Ib', bitTest(complement), { ...bitUndefined, lock: true }),
  row('BSF', '0F BC /r', 'Gv,Ev', bitScan(false), scanUndefined),
  row('BSR', '0F BD /r', 'Gv,Ev', bitScan(true), scanUndefined),
  row('BSWAP', '0F C8+r', 'Zv', bswap),
];
