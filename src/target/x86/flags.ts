/**
 * Lazy arithmetic flags.
 *
 * An instruction leaves its result and one operand behind; CF, PF, AF, ZF, SF
 * and OF are computed from them only when something looks. State: `flagsKind`
 * = kind << 2 | log2(size), `flagsResult` and `flagsSource` zero-extended.
 *
 * | kind   | result            | source                                      |
 * |--------|-------------------|---------------------------------------------|
 * | image  | –                 | the flags themselves, as in EFLAGS           |
 * | add    | left + source     | right operand                               |
 * | adc    | left + source + 1 | right operand (carry in was 1)              |
 * | sub    | left - source     | right operand                               |
 * | sbb    | left - source - 1 | right operand (borrow in was 1)             |
 * | logic  | result            | – (CF = AF = OF = 0)                        |
 * | result | result            | CF, AF and OF as in EFLAGS; ZF, SF, PF from result |
 * | inc    | left + 1          | 1; CF is that of `carryKind`, `carryResult` and `carrySource` |
 * | dec    | left - 1          | 1; CF as for inc                            |
 *
 * Bits above the kind (`flagsOverride`) replace CF or OF: rotates, BT and CLC change nothing else.
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  type Field,
  type IntSize,
  i32,
  i64,
  type LibraryFunction,
  leS,
  leU,
  ltS,
  ltU,
  ne,
  op,
  or,
  popcnt,
  select,
  shl,
  shrU,
  signExtend,
  sub,
  toI32,
  toI64,
  xor,
} from '../ir/index.ts';
import {
  carryKind,
  carryResult,
  carrySource,
  flag,
  flagsKind,
  flagsOverride,
  flagsResult,
  flagsSource,
} from './state.ts';

export const flagsKinds = { image: 0, add: 1, adc: 2, sub: 3, sbb: 4, logic: 5, result: 6, inc: 8, dec: 9 } as const;
export type FlagsKind = keyof typeof flagsKinds;

export const log2 = (size: IntSize): number => (size === 1 ? 0 : size === 2 ? 1 : size === 4 ? 2 : 3);
/** The value of `flagsKind` for a kind and an operand size. */
export const flagsCode = (kind: FlagsKind, size: IntSize): number => (flagsKinds[kind] << 2) | log2(size);

/** The bit of `flagsKind` that inc and dec have alone; with `carryValid` their CF is known otherwise. */
const stepBit = flagsKinds.inc << 2;
/** Whether CF is that of `carryKind` and its like, from `flagsKind`. */
export const keepsCarry = (code: Expr): Expr => eq(and(code, i32(stepBit | flagsOverride.carryValid)), i32(stepBit));

const bool = (e: Expr, bit: number): Expr => (bit === 1 ? e : shl(e, i32(Math.log2(bit))));
const isKind = (kind: Expr, ...kinds: FlagsKind[]): Expr => kinds.map((k) => eq(kind, i32(flagsKinds[k]))).reduce(or);

const additions = ['add', 'adc', 'inc'] as const;

/** Bit i is the carry (or borrow) out of bit i. */
function carries(b: Builder, kind: Expr, result: Expr, source: Expr): Expr {
  const carryIn = b.let(toI64(isKind(kind, 'adc', 'sbb')));
  const left = b.let(
    select(isKind(kind, ...additions), sub(sub(result, source), carryIn), add(add(result, source), carryIn)),
  );
  const notResult = xor(result, i64(-1));
  const notLeft = xor(left, i64(-1));
  return b.let(
    select(
      isKind(kind, ...additions),
      or(and(left, source), and(or(left, source), notResult)),
      or(and(notLeft, source), and(or(notLeft, source), result)),
    ),
  );
}

interface Parts {
  /** All of `flagsKind`, overrides included. */
  code: Expr;
  kind: Expr;
  shift: Expr;
  result: Expr;
  source: Expr;
}

/** Reads the lazy state, or the one that CF is in; `shift` is the number of the operand's top bit. */
function parts(b: Builder, forCarry = false): Parts {
  const now = b.get(flagsKind);
  const isKept = b.let(forCarry ? keepsCarry(now) : i32(0));
  const pick = (kept: Field, own: Field) => (forCarry ? b.let(select(isKept, b.get(kept), b.get(own))) : b.get(own));
  const code = forCarry ? b.let(select(isKept, b.get(carryKind), now)) : now;
  return {
    code,
    kind: b.let(and(shrU(code, i32(2)), i32(0x3f))),
    shift: b.let(toI64(sub(shl(i32(8), and(code, i32(3))), i32(1)))),
    result: pick(carryResult, flagsResult),
    source: pick(carrySource, flagsSource),
  };
}

const topBit = (value: Expr, shift: Expr): Expr => and(toI32(shrU(value, shift)), i32(1));
const parity = (result: Expr): Expr => xor(and(popcnt(and(toI32(result), i32(0xff))), i32(1)), i32(1));
const imageBit = (source: Expr, bit: number): Expr => and(shrU(toI32(source), i32(Math.log2(bit))), i32(1));

/** A function i32 ← () that looks at the lazy state: `fromImage` where the flags are explicit, else `compute`. */
function flagFunction(
  name: string,
  bit: number,
  compute: (b: Builder, p: Parts) => Expr,
  explicit: FlagsKind[],
): LibraryFunction {
  return {
    name,
    params: [],
    result: 'i32',
    body(b) {
      const p = parts(b, bit === flag.CF);
      const out = b.variable(i32(0));
      const ordinary = () =>
        b.if(
          isKind(p.kind, ...explicit),
          () => b.set(out, imageBit(p.source, bit)),
          () =>
            b.if(bit === flag.CF || bit === flag.OF ? ne(p.kind, i32(flagsKinds.logic)) : i32(1), () =>
              b.set(out, compute(b, p)),
            ),
        );
      const override = overrides.find((o) => o.flag === bit);
      if (override) {
        b.if(
          and(p.code, i32(override.valid)),
          () => b.set(out, ne(and(p.code, i32(override.value)), i32(0))),
          ordinary,
        );
      } else ordinary();
      return out;
    },
  };
}

/** Flags that `flagsKind` may hold apart from the rest. */
const overrides = [
  { flag: flag.CF, valid: flagsOverride.carryValid, value: flagsOverride.carry },
  { flag: flag.OF, valid: flagsOverride.overflowValid, value: flagsOverride.overflow },
];

const carryBits = (b: Builder, p: Parts) => carries(b, p.kind, p.result, p.source);

/** All six flags as an EFLAGS image. */
const allFlags: LibraryFunction = {
  name: 'flags_all',
  params: [],
  result: 'i32',
  body(b) {
    const p = parts(b);
    const out = b.variable(toI32(p.source));
    b.if(ne(p.kind, i32(flagsKinds.image)), () => {
      b.if(isKind(p.kind, 'logic'), () => b.set(out, i32(0)));
      b.if(isKind(p.kind, ...additions, 'sub', 'sbb', 'dec'), () => {
        const c = carryBits(b, p);
        const carry = b.let(topBit(c, p.shift));
        const overflow = xor(carry, topBit(c, sub(p.shift, i64(1))));
        const adjust = and(toI32(shrU(c, i64(3))), i32(1));
        b.set(out, or(carry, or(bool(adjust, flag.AF), bool(overflow, flag.OF))));
      });
      b.set(
        out,
        or(
          out,
          or(
            bool(parity(p.result), flag.PF),
            or(bool(op('i64.eqz', p.result), flag.ZF), bool(topBit(p.result, p.shift), flag.SF)),
          ),
        ),
      );
    });
    b.if(keepsCarry(p.code), () => b.set(out, or(and(out, i32(~flag.CF)), b.call('flag_c'))));
    for (const { flag: bit, valid, value } of overrides) {
      b.if(and(p.code, i32(valid)), () =>
        b.set(out, or(and(out, i32(~bit)), bool(ne(and(p.code, i32(value)), i32(0)), bit))),
      );
    }
    return out;
  },
};

export const flagsLibrary: readonly LibraryFunction[] = [
  flagFunction('flag_c', flag.CF, (b, p) => topBit(carryBits(b, p), p.shift), ['image', 'result']),
  flagFunction(
    'flag_o',
    flag.OF,
    (b, p) => {
      const c = carryBits(b, p);
      return xor(topBit(c, p.shift), topBit(c, sub(p.shift, i64(1))));
    },
    ['image', 'result'],
  ),
  flagFunction('flag_z', flag.ZF, (_, p) => op('i64.eqz', p.result), ['image']),
  flagFunction('flag_s', flag.SF, (_, p) => topBit(p.result, p.shift), ['image']),
  flagFunction('flag_p', flag.PF, (_, p) => parity(p.result), ['image']),
  allFlags,
];

/** Condition code (0–15, as in Jcc's opcode) from the lazy state, whatever set it. */
export function dynamicCondition(b: Builder, code: number): Expr {
  const c = () => b.call('flag_c');
  const z = () => b.call('flag_z');
  const s = () => b.call('flag_s');
  const o = () => b.call('flag_o');
  const positive = [
    o,
    c,
    z,
    () => or(c(), z()),
    s,
    () => b.call('flag_p'),
    () => xor(s(), o()),
    () => or(z(), xor(s(), o())),
  ][code >> 1]();
  return code & 1 ? eqz(positive) : positive;
}

/** What is known about the flags where the setting instruction has just been emitted. */
export interface KnownFlags {
  readonly kind: FlagsKind;
  readonly size: IntSize;
  readonly result: Expr;
  readonly source: Expr;
  /** Left operand of an add or sub, when at hand. */
  readonly left?: Expr;
  /** CF, where the rest does not tell it. */
  readonly carry?: Expr;
  /** The flags (an image) tell how these compare. */
  readonly floats?: readonly [Expr, Expr];
}

/** A condition straight from the operands, or undefined where the lazy state must be asked. */
export function knownCondition(known: KnownFlags, code: number): Expr | undefined {
  const positive = knownPositive(known, code >> 1);
  return positive && (code & 1 ? eqz(positive) : positive);
}

/** The flags of a comparison of floats: ZF, PF and CF, all three when they are unordered; the others are 0. */
function comparedFloats([x, y]: readonly [Expr, Expr], pair: number): Expr {
  const is = (name: string, a = x, b = y) => op(`${x.type}.${name}`, a, b);
  const equal = () => eqz(or(is('lt'), is('gt')));
  switch (pair) {
    case 1:
      return eqz(is('ge'));
    case 2:
    case 7:
      return equal();
    case 3:
      return eqz(is('gt'));
    case 5:
      return or(is('ne', x, x), is('ne', y, y));
    default:
      return i32(0);
  }
}

function knownPositive(known: KnownFlags, pair: number): Expr | undefined {
  return known.floats ? comparedFloats(known.floats, pair) : knownInteger(known, pair);
}

function knownInteger({ kind, size, result, source, left, carry }: KnownFlags, pair: number): Expr | undefined {
  const zeroOf = (e: Expr) => (e.type === 'i64' ? i64(0) : i32(0));
  if (kind === 'image') return undefined;
  const sign = () => ltS(signExtend(size, result), zeroOf(result));
  if (pair === 2) return kind === 'sub' && left ? eq(left, source) : eqz(result);
  if (pair === 4) return sign();
  if (pair === 5) return parity(result);
  if (carry && pair === 1) return carry;
  if (carry && pair === 3) return or(carry, eqz(result));
  if (kind === 'logic') {
    if (pair === 0 || pair === 1) return i32(0);
    if (pair === 3) return eqz(result);
    if (pair === 6) return sign();
    return leS(signExtend(size, result), zeroOf(result));
  }
  if (kind === 'add' && pair === 1) return ltU(result, source);
  if (kind === 'dec' && pair >= 6) {
    const one = result.type === 'i64' ? i64(1) : i32(1);
    const before = signExtend(size, add(result, one));
    return pair === 6 ? ltS(before, one) : leS(before, one);
  }
  if (kind === 'add' && left && size < 8 && pair >= 6) {
    const wide = (e: Expr) => op('i64.extend_i32_s', signExtend(size, e));
    const sum = add(wide(left), wide(source));
    return pair === 6 ? ltS(sum, i64(0)) : leS(sum, i64(0));
  }
  if (kind === 'sub' && left) {
    if (pair === 1) return ltU(left, source);
    if (pair === 3) return leU(left, source);
    if (pair === 6) return ltS(signExtend(size, left), signExtend(size, source));
    if (pair === 7) return leS(signExtend(size, left), signExtend(size, source));
  }
  return undefined;
}
