/** PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 1, 5.11 and vol. 2, 4.1). */
import {
  add,
  and,
  clz,
  ctz,
  type Expr,
  eq,
  eqz,
  i32,
  type LibraryFunction,
  ltU,
  op,
  or,
  select,
  shl,
  shrU,
  sub,
  toI64,
  type Variable,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { flag, gpr, xmm, ymmHigh } from '../state.ts';
import { v } from './fp.ts';
import type { Row } from './row.ts';
import { both, lanes, zero128 } from './vec.ts';

/** Bits of the immediate. */
const control = { words: 1, signed: 2, aggregation: 2, polarity: 4, last: 6 } as const;

/** Elements a vector holds: 8 words or 16 bytes. */
const capacity = (imm: Expr): Expr => select(and(imm, i32(control.words)), i32(8), i32(16));
/** The low `n` bits (n below 32). */
const ones = (n: Expr): Expr => sub(shl(i32(1), n), i32(1));

/** `sse_string_length` (v, imm): elements before the first zero. */
const implicitLength: LibraryFunction = {
  name: 'sse_string_length',
  params: ['v128', 'i32'],
  result: 'i32',
  body(_b, x, imm) {
    const zeroBytes = or(op('i8x16.bitmask', op('i8x16.eq', x, zero128)), i32(0x10000));
    const zeroWords = or(op('i16x8.bitmask', op('i16x8.eq', x, zero128)), i32(0x100));
    return ctz(select(and(imm, i32(control.words)), zeroWords, zeroBytes));
  },
};

type Shape = 'i8x16' | 'i16x8';
/** Bit j: relation of element `i` of x (in every lane) and element j of y. */
function relations(shape: Shape, x: Expr, i: Expr, y: Expr, name: string): Expr {
  const index =
    shape === 'i8x16'
      ? op('i8x16.splat', i)
      : op('i16x8.add', op('i16x8.mul', op('i16x8.splat', i), lanes(2, 0x0202)), lanes(2, 0x0100));
  return op(`${shape}.bitmask`, op(`${shape}.${name}`, y, op('i8x16.swizzle', x, index)));
}

/**
 * `sse_string_compare` (x, y, lx, ly, imm): IntRes2, one bit an element of y. The aggregation loops over the
 * elements of x and compares each with all of y at once.
 */
const compareStrings: LibraryFunction = {
  name: 'sse_string_compare',
  params: ['v128', 'v128', 'i32', 'i32', 'i32'],
  result: 'i32',
  body(b, x, y, lx, ly, imm) {
    const n = b.let(capacity(imm));
    const valid = b.let(ones(ly));
    const out = b.variable(i32(0));
    const words = and(imm, i32(control.words));
    const byShape = (body: (shape: Shape) => void) =>
      b.if(
        words,
        () => body('i16x8'),
        () => body('i8x16'),
      );
    const aggregation = b.let(and(shrU(imm, i32(control.aggregation)), i32(3)));
    /** Runs `body` for i from 0 to lx - 1. */
    const eachOfX = (step: number, body: (i: Variable) => void) => {
      const i = b.variable(i32(0));
      b.loop((again) =>
        b.if(ltU(add(i, i32(step - 1)), lx), () => {
          body(i);
          b.set(i, add(i, i32(step)));
          again();
        }),
      );
    };
    const equalAny = (shape: Shape) => eachOfX(1, (i) => b.set(out, or(out, relations(shape, x, i, y, 'eq'))));
    const ranges = (shape: Shape) => {
      // Signed order is unsigned order with the sign bits flipped.
      const bias = b.let(
        v(
          'and',
          op('i32x4.splat', select(and(imm, i32(control.signed)), i32(-1), i32(0))),
          shape === 'i8x16' ? lanes(1, 0x80) : lanes(2, 0x8000),
        ),
      );
      const xs = b.let(v('xor', x, bias));
      const ys = b.let(v('xor', y, bias));
      eachOfX(2, (i) =>
        b.set(out, or(out, and(relations(shape, xs, i, ys, 'ge_u'), relations(shape, xs, add(i, i32(1)), ys, 'le_u')))),
      );
    };
    const equalEach = (shape: Shape) => {
      const xValid = b.let(ones(lx));
      const both = and(and(op(`${shape}.bitmask`, op(`${shape}.eq`, x, y)), xValid), valid);
      b.set(out, or(both, and(xor(or(xValid, valid), i32(-1)), ones(n))));
    };
    const equalOrdered = (shape: Shape) => {
      b.set(out, ones(n));
      eachOfX(1, (i) => {
        const hits = shrU(and(relations(shape, x, i, y, 'eq'), valid), i);
        b.set(out, and(out, or(hits, xor(ones(sub(n, i)), i32(-1)))));
      });
    };
    byShape((shape) => {
      b.if(eqz(aggregation), () => equalAny(shape));
      b.if(eq(aggregation, i32(1)), () => ranges(shape));
      b.if(eq(aggregation, i32(2)), () => equalEach(shape));
      b.if(eq(aggregation, i32(3)), () => equalOrdered(shape));
    });
    b.if(ltU(aggregation, i32(2)), () => b.set(out, and(out, valid)));
    const polarity = b.let(and(shrU(imm, i32(control.polarity)), i32(3)));
    b.if(eq(polarity, i32(1)), () => b.set(out, xor(out, ones(n))));
    b.if(eq(polarity, i32(3)), () => b.set(out, xor(out, valid)));
    return out;
  },
};

/** The length that RAX or RDX (EAX, EDX without W) gives: its magnitude, at most the capacity. */
function explicitLength(b: X86Builder, register: number, imm: Expr): Expr {
  const full = b.get(gpr[register]);
  const value = b.let(b.w ? full : op('i64.extend_i32_s', op('i32.wrap_i64', full)));
  const magnitude = b.let(select(op('i64.lt_s', value, toI64(i32(0))), op('i64.sub', toI64(i32(0)), value), value));
  return b.let(
    select(
      op('i64.lt_u', magnitude, toI64(i32(16))),
      atMostCapacity(op('i32.wrap_i64', magnitude), imm),
      capacity(imm),
    ),
  );
}
const atMostCapacity = (n: Expr, imm: Expr): Expr => select(ltU(n, capacity(imm)), n, capacity(imm));

const compare =
  (explicit: boolean, mask: boolean): Semantics =>
  (b) => {
    const imm = b.let(b.immediate(2));
    const x = b.let(b.readVector(0));
    const y = b.let(b.readVector(1));
    const lx = explicit ? explicitLength(b, 0, imm) : b.let(b.call('sse_string_length', x, imm));
    const ly = explicit ? explicitLength(b, 2, imm) : b.let(b.call('sse_string_length', y, imm));
    const result = b.let(b.call('sse_string_compare', x, y, lx, ly, imm));
    const last = and(imm, i32(1 << control.last));
    const n = b.let(capacity(imm));
    if (mask) {
      const bytes = op(
        'i8x16.ne',
        v(
          'and',
          op('i8x16.swizzle', op('i32x4.splat', result), lanes(8, 0x0000000000000000n, 0x0101010101010101n)),
          lanes(8, 0x8040201008040201n),
        ),
        zero128,
      );
      const wordsMask = op(
        'i16x8.ne',
        v('and', op('i16x8.splat', result), lanes(2, 1, 2, 4, 8, 16, 32, 64, 128)),
        zero128,
      );
      const expanded = select(and(imm, i32(control.words)), wordsMask, bytes);
      b.put(xmm[0], select(last, expanded, op('i32x4.replace_lane', zero128, result)));
      if (b.vex) b.put(ymmHigh[0], zero128);
    } else {
      const index = select(last, sub(i32(31), clz(result)), ctz(result));
      b.put(gpr[1], toI64(select(result, index, n)));
    }
    const bit = (e: Expr, value: number) => select(e, i32(value), i32(0));
    b.putFlags(
      or(
        or(bit(result, flag.CF), bit(ltU(ly, n), flag.ZF)),
        or(bit(ltU(lx, n), flag.SF), bit(and(result, i32(1)), flag.OF)),
      ),
    );
  };

export const stringCompareLibrary: readonly LibraryFunction[] = [implicitLength, compareStrings];

const form = { cpuid: 'sse4_2', vex: '128', aligned: 'never' } as const;
export const stringCompareRows: readonly Row[] = [
  ...both('PCMPESTRM', '66.0F3A 60', 'Vdq,Wdq,Ibu', compare(true, true), { ...form, by: ['w'] }),
  ...both('PCMPESTRI', '66.0F3A 61', 'Vdq,Wdq,Ibu', compare(true, false), { ...form, by: ['w'] }),
  ...both('PCMPISTRM', '66.0F3A 62', 'Vdq,Wdq,Ibu', compare(false, true), form),
  ...both('PCMPISTRI', '66.0F3A 63', 'Vdq,Wdq,Ibu', compare(false, false), form),
];
