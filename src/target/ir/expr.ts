/**
 * Expressions of the IR: pure trees over locals and constants.
 *
 * An expression has no side effect and reads nothing that a statement can
 * change, except variables; state and memory are read by builder methods, which
 * put the value into a fresh local at once. So a tree may be used twice (it is
 * then computed twice: bind it with `let` when that costs).
 */
import { type Operator, operators, type ValueType } from './ops.ts';

export type Expr =
  | { readonly kind: 'const'; readonly type: ValueType; readonly value: bigint | number | Uint8Array }
  | { readonly kind: 'local'; readonly type: ValueType; readonly index: number }
  | {
      readonly kind: 'op';
      readonly type: ValueType;
      readonly op: Operator;
      readonly args: readonly Expr[];
      readonly lane: number;
    }
  | { readonly kind: 'select'; readonly type: ValueType; readonly args: readonly [Expr, Expr, Expr] }
  | {
      readonly kind: 'shuffle';
      readonly type: 'v128';
      readonly args: readonly [Expr, Expr];
      readonly lanes: readonly number[];
    };

/** An i32 constant. */
export const i32 = (value: number): Expr => ({ kind: 'const', type: 'i32', value: value | 0 });
/** An i64 constant. */
export const i64 = (value: bigint | number): Expr => ({
  kind: 'const',
  type: 'i64',
  value: BigInt.asIntN(64, BigInt(value)),
});
export const f32 = (value: number): Expr => ({ kind: 'const', type: 'f32', value });
export const f64 = (value: number): Expr => ({ kind: 'const', type: 'f64', value });

/** A v128 constant of 16 bytes, low byte first. */
export function v128(bytes: ArrayLike<number>): Expr {
  if (bytes.length !== 16) throw new Error(`v128 constant of ${bytes.length} bytes`);
  return { kind: 'const', type: 'v128', value: Uint8Array.from(bytes) };
}
/** A v128 constant of two equal 64-bit lanes. */
export function v128of64(value: bigint): Expr {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  new DataView(bytes.buffer).setBigUint64(8, BigInt.asUintN(64, value), true);
  return v128(bytes);
}
/** A v128 constant of four equal 32-bit lanes. */
export const v128of32 = (value: number): Expr => v128of64((BigInt(value >>> 0) << 32n) | BigInt(value >>> 0));

/** Applies an operator by its WebAssembly name, e.g. `op('i64.add', a, b)`. Throws on a wrong name or type: a bug of ours. */
export function op(name: string, ...args: Expr[]): Expr {
  return lane(name, 0, ...args);
}

/** An operator with a lane immediate, e.g. `lane('i32x4.extract_lane', 2, v)`. */
export function lane(name: string, laneIndex: number, ...args: Expr[]): Expr {
  const operator = operators.get(name);
  if (!operator) throw new Error(`no IR operator ${name}`);
  return apply(operator, laneIndex, args);
}

function apply(operator: Operator, laneIndex: number, args: readonly Expr[]): Expr {
  const { params, name } = operator;
  if (args.length !== params.length) throw new Error(`${name} takes ${params.length} arguments, not ${args.length}`);
  for (let i = 0; i < args.length; i++)
    if (args[i].type !== params[i]) throw new Error(`${name}: argument ${i} is ${args[i].type}, not ${params[i]}`);
  const folded = operator.folds === '' ? undefined : fold(operator, args);
  return folded ?? { kind: 'op', type: operator.result, op: operator, args, lane: laneIndex };
}

/** Bytes `lanes[i]` (0 to 31) of a and b concatenated: WebAssembly's i8x16.shuffle. */
export function shuffle(a: Expr, b: Expr, lanes: readonly number[]): Expr {
  if (lanes.length !== 16 || lanes.some((l) => l < 0 || l > 31)) throw new Error('shuffle wants 16 lanes, 0 to 31');
  return { kind: 'shuffle', type: 'v128', args: [a, b], lanes };
}

/** `cond ? a : b`; both sides are computed. */
export function select(cond: Expr, a: Expr, b: Expr): Expr {
  if (a.type !== b.type || cond.type !== 'i32') throw new Error(`select(${cond.type}, ${a.type}, ${b.type})`);
  if (cond.kind === 'const') return cond.value ? a : b;
  return { kind: 'select', type: a.type, args: [cond, a, b] };
}

/** Folds what the translator meets all the time: 64- and 32-bit integer arithmetic on constants, and neutral elements. */
function fold(operator: Operator, args: readonly Expr[]): Expr | undefined {
  const [a, b] = args;
  if (args.length === 1) return a.kind === 'const' ? foldUnary(operator, a.value) : undefined;
  if (b.kind !== 'const') return undefined;
  if (a.kind === 'const') return foldConstants(operator, a, b);
  switch (operator.folds) {
    case 'add':
    case 'sub':
    case 'or':
    case 'xor':
    case 'shl':
    case 'shr_s':
    case 'shr_u':
      return b.value === 0 || b.value === 0n ? a : undefined;
    // With all ones.
    case 'and':
      return b.value === -1 || b.value === -1n ? a : undefined;
    default:
      return undefined;
  }
}

function foldUnary(operator: Operator, value: bigint | number | Uint8Array): Expr | undefined {
  switch (operator.folds) {
    case 'wrap_i64':
      return i32(Number(BigInt.asIntN(32, value as bigint)));
    case 'extend_i32_u':
      return i64((value as number) >>> 0);
    case 'extend_i32_s':
      return i64(value as number);
    case 'eqz':
      return i32(Number(value) === 0 ? 1 : 0);
    default:
      return undefined;
  }
}

function foldConstants(operator: Operator, a: Expr, b: Expr): Expr | undefined {
  if (a.kind !== 'const' || b.kind !== 'const') return undefined;
  const bits = a.type === 'i32' ? 32 : 64;
  const x = BigInt.asIntN(bits, BigInt(a.value as bigint));
  const y = BigInt.asIntN(bits, BigInt(b.value as bigint));
  const make = (v: bigint) => (bits === 32 ? i32(Number(BigInt.asIntN(32, v))) : i64(v));
  const shift = y & BigInt(bits - 1);
  switch (operator.folds) {
    case 'add':
      return make(x + y);
    case 'sub':
      return make(x - y);
    case 'mul':
      return make(x * y);
    case 'and':
      return make(x & y);
    case 'or':
      return make(x | y);
    case 'xor':
      return make(x ^ y);
    case 'shl':
      return make(x << shift);
    case 'shr_u':
      return make(BigInt.asUintN(bits, x) >> shift);
    case 'shr_s':
      return make(x >> shift);
    case 'eq':
      return i32(x === y ? 1 : 0);
    case 'ne':
      return i32(x !== y ? 1 : 0);
    default:
      return undefined;
  }
}

const integerOperators = (name: string): { readonly i32: Operator; readonly i64: Operator } => ({
  i32: operators.get(`i32.${name}`) as Operator,
  i64: operators.get(`i64.${name}`) as Operator,
});
const integer = (name: string) => {
  const both = integerOperators(name);
  return (a: Expr, b: Expr): Expr => apply(a.type === 'i64' ? both.i64 : both.i32, 0, [a, b]);
};
const unary = (name: string) => {
  const both = integerOperators(name);
  return (a: Expr): Expr => apply(a.type === 'i64' ? both.i64 : both.i32, 0, [a]);
};

// Sugar for the integer operators, chosen by the type of the first argument.
export const add = integer('add');
export const sub = integer('sub');
export const mul = integer('mul');
export const and = integer('and');
export const or = integer('or');
export const xor = integer('xor');
export const shl = integer('shl');
export const shrU = integer('shr_u');
export const shrS = integer('shr_s');
export const rotl = integer('rotl');
export const rotr = integer('rotr');
export const eq = integer('eq');
export const ne = integer('ne');
export const ltU = integer('lt_u');
export const ltS = integer('lt_s');
export const leU = integer('le_u');
export const leS = integer('le_s');
export const gtU = integer('gt_u');
export const gtS = integer('gt_s');
export const geU = integer('ge_u');
export const geS = integer('ge_s');
export const divU = integer('div_u');
export const divS = integer('div_s');
export const remU = integer('rem_u');
export const remS = integer('rem_s');
export const eqz = unary('eqz');
export const clz = unary('clz');
export const ctz = unary('ctz');
export const popcnt = unary('popcnt');

/** A constant of the integer type of `like`. */
export const constLike = (like: Expr, value: bigint | number): Expr =>
  like.type === 'i64' ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));
/** i64 of an i32, zero-extended; an i64 as it is. */
export const toI64 = (e: Expr): Expr => (e.type === 'i64' ? e : op('i64.extend_i32_u', e));
/** The low 32 bits of an i64; an i32 as it is. */
export const toI32 = (e: Expr): Expr => (e.type === 'i32' ? e : op('i32.wrap_i64', e));

/** An operand's width in bytes; widths 1, 2 and 4 live in an i32, 8 in an i64. */
export type IntSize = 1 | 2 | 4 | 8;

/** `e` reduced to `size` bytes, zero-extended within its own type; of size 8: as it is. */
export function zeroExtend(size: IntSize, e: Expr): Expr {
  if (size === 1) return and(e, constLike(e, 0xff));
  if (size === 2) return and(e, constLike(e, 0xffff));
  if (size === 4 && e.type === 'i64') return and(e, i64(0xffffffffn));
  return e;
}

/** The low `size` bytes of `e`, sign-extended within its own type. */
export function signExtend(size: IntSize, e: Expr): Expr {
  if (size === 1) return op(`${e.type}.extend8_s`, e);
  if (size === 2) return op(`${e.type}.extend16_s`, e);
  if (size === 4 && e.type === 'i64') return op('i64.extend32_s', e);
  return e;
}

/** `e` (a value of `from` bytes) as a value of `to` bytes in the type that fits, zero- or sign-extended or cut. */
export function convert(e: Expr, from: IntSize, to: IntSize, signed: boolean): Expr {
  const extended = from < to ? (signed ? signExtend(from, e) : zeroExtend(from, e)) : e;
  if (to === 8)
    return extended.type === 'i64' ? extended : op(signed ? 'i64.extend_i32_s' : 'i64.extend_i32_u', extended);
  return zeroExtend(to, toI32(extended));
}
