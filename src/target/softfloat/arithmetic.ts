/** Addition, subtraction, multiplication, division, square root and fused multiply-add for every format. */
import {
  add,
  and,
  type Builder,
  type Expr,
  geU,
  i32,
  i64,
  type LibraryFunction,
  ltS,
  or,
  select,
  shl,
  shrS,
  shrU,
  sub,
  type Variable,
  xor,
} from '../ir/index.ts';
import {
  exception,
  type FloatFormat,
  isInfinity,
  isNan,
  isOrdinary,
  isZero,
  normalise,
  type Parts,
  packInfinity,
  packInvalid,
  packZero,
  propagateNan,
  raiseFlags,
  unpack,
  valueParams,
} from './format.ts';
import { finish, zeroSignOf } from './round.ts';
import { addWide, divideWide, multiplyWide, quotientRest, squareRoot } from './wide.ts';

/** What an operation's emitters work with. */
interface Context {
  readonly b: Builder;
  readonly format: FloatFormat;
  readonly control: Expr;
  /** Gives the function's result early: a packed value. */
  readonly settle: (result: () => Expr) => void;
}

/** An operation: what it does where an operand is not an ordinary number, and with finite operands. */
interface Operation {
  /** May settle. `denormal` is DE's bit if an operand is denormal, for `raiseFlags`. NaNs are dealt with before. */
  special(c: Context, operands: readonly Parts[], denormal: Expr): void;
  compute(c: Context, operands: readonly Parts[]): Expr;
}

function arithmetic(
  format: FloatFormat,
  name: string,
  operandCount: number,
  make: (extra: readonly Expr[]) => Operation,
  extraParams: 'i32'[] = [],
): LibraryFunction {
  const width = valueParams(format).length;
  return {
    name: `${format.name}_${name}`,
    params: [...Array.from({ length: operandCount }, () => valueParams(format)).flat(), ...extraParams, 'i32'],
    result: format.type,
    body(b, ...args) {
      const operands = Array.from({ length: operandCount }, (_, i) =>
        unpack(b, format, args.slice(i * width, (i + 1) * width)),
      );
      const operation = make(args.slice(operandCount * width, -1));
      const control = args[args.length - 1];
      const out = b.variable(format.type === 'i64' ? i64(0) : i32(0));
      const open = b.variable(i32(1));
      const settle = (result: () => Expr) => {
        b.set(out, result());
        b.set(open, i32(0));
      };
      const context: Context = { b, format, control, settle };
      const ordinary = operands.map((x) => isOrdinary(format, x)).reduce(and);
      b.if(
        ordinary,
        () => {},
        () =>
          b.if(
            operands.map((x) => isNan(format, x)).reduce(or),
            () => settle(() => propagateNan(b, format, operands)),
            () =>
              operation.special(context, operands, operands.map((x) => normalise(b, format, x, control)).reduce(or)),
          ),
      );
      b.if(open, () => b.set(out, operation.compute(context, operands)));
      return out;
    },
  };
}

const wide = (x: Parts) => ({ sign: x.sign, exponent: x.exponent, high: x.significand });

function addition(subtract: boolean): Operation {
  const signed = (operands: readonly Parts[]): [Parts, Parts] => {
    const [x, y] = operands;
    return [x, subtract ? { ...y, sign: xor(y.sign, i32(1)) } : y];
  };
  return {
    special({ b, format, settle }, operands, denormal) {
      const [x, y] = signed(operands);
      const infinite = b.let(isInfinity(format, y));
      b.if(
        isInfinity(format, x),
        () =>
          b.if(
            and(infinite, xor(x.sign, y.sign)),
            () => settle(() => packInvalid(b, format)),
            () => settle(() => raised(b, denormal, packInfinity(b, format, x.sign))),
          ),
        () =>
          b.if(
            infinite,
            () => settle(() => raised(b, denormal, packInfinity(b, format, y.sign))),
            () => raiseFlags(b, denormal),
          ),
      );
    },
    compute({ b, format, control }, operands) {
      const [x, y] = signed(operands);
      return finish(b, format, addWide(b, wide(x), wide(y), b.let(zeroSignOf(format, control))), control);
    },
  };
}

/** Raises `flags` and passes `result` on. */
function raised(b: Builder, flags: Expr, result: Expr): Expr {
  raiseFlags(b, flags);
  return result;
}

const productSign = (operands: readonly Parts[]) => xor(operands[0].sign, operands[1].sign);

/** The exact product, normalised unless it is zero. */
function product(
  b: Builder,
  format: FloatFormat,
  x: Parts,
  y: Parts,
): { exponent: Variable; high: Variable; low: Variable } {
  const p = multiplyWide(b, x.significand, y.significand);
  const high = b.variable(p.high);
  const low = b.variable(p.low);
  const exponent = b.variable(add(add(x.exponent, y.exponent), i32(1 - format.bias)));
  b.if(
    ltS(high, i64(0)),
    () => {},
    () => {
      b.set(high, or(shl(high, i64(1)), shrU(low, i64(63))));
      b.set(low, shl(low, i64(1)));
      b.set(exponent, sub(exponent, i32(1)));
    },
  );
  return { exponent, high, low };
}

const multiplication: Operation = {
  special({ b, format, settle }, operands, denormal) {
    const [x, y] = operands;
    const sign = productSign(operands);
    b.if(
      or(isInfinity(format, x), isInfinity(format, y)),
      () =>
        b.if(
          or(isZero(x), isZero(y)),
          () => settle(() => packInvalid(b, format)),
          () => settle(() => raised(b, denormal, packInfinity(b, format, sign))),
        ),
      () => raiseFlags(b, denormal),
    );
  },
  compute({ b, format, control }, operands) {
    const p = product(b, format, operands[0], operands[1]);
    return finish(b, format, { sign: b.let(productSign(operands)), ...p }, control);
  },
};

const division: Operation = {
  special({ b, format, settle }, operands, denormal) {
    const [x, y] = operands;
    const sign = b.let(productSign(operands));
    const xInfinite = b.let(isInfinity(format, x));
    const yInfinite = b.let(isInfinity(format, y));
    const invalid = or(and(xInfinite, yInfinite), and(isZero(x), isZero(y)));
    b.if(
      invalid,
      () => settle(() => packInvalid(b, format)),
      () => {
        b.if(
          xInfinite,
          () => settle(() => raised(b, denormal, packInfinity(b, format, sign))),
          () =>
            b.if(
              isZero(y),
              () => settle(() => raised(b, i32(exception.zeroDivide), packInfinity(b, format, sign))),
              () => {
                raiseFlags(b, denormal);
                b.if(or(yInfinite, isZero(x)), () => settle(() => packZero(b, format, sign)));
              },
            ),
        );
      },
    );
  },
  compute({ b, format, control }, operands) {
    const [x, y] = operands;
    const fits = b.let(geU(x.significand, y.significand));
    const high = b.let(select(fits, shrU(x.significand, i64(1)), x.significand));
    const low = b.let(select(fits, shl(x.significand, i64(63)), i64(0)));
    const { quotient, remainder } = divideWide(b, high, low, y.significand);
    const exponent = add(sub(x.exponent, y.exponent), add(i32(format.bias - 1), fits));
    const rest = quotientRest(remainder, y.significand);
    const r = { sign: b.let(productSign(operands)), exponent: b.let(exponent), high: quotient, low: b.let(rest) };
    return finish(b, format, r, control);
  },
};

const root: Operation = {
  special({ b, format, settle }, [x], denormal) {
    b.if(
      isZero(x),
      () => settle(() => packZero(b, format, x.sign)),
      () =>
        b.if(
          x.sign,
          () => {},
          () =>
            b.if(
              isInfinity(format, x),
              () => settle(() => packInfinity(b, format, x.sign)),
              () => raiseFlags(b, denormal),
            ),
        ),
    );
  },
  compute({ b, format, control }, [x]) {
    const out = b.variable(format.type === 'i64' ? i64(0) : i32(0));
    b.if(
      x.sign,
      () => b.set(out, packInvalid(b, format)),
      () => {
        const power = b.let(sub(x.exponent, i32(format.bias)));
        const { root, rest } = squareRoot(b, x.significand, b.let(and(power, i32(1))));
        const exponent = b.let(add(shrS(power, i32(1)), i32(format.bias)));
        b.set(out, finish(b, format, { sign: i32(0), exponent, high: root, low: rest }, control));
      },
    );
    return out;
  },
};

/** ±(x · y) ± z; bit 0 of `negate` is the product's sign, bit 1 z's. */
function fusedMultiplyAdd(negate: Expr): Operation {
  const signs = (operands: readonly Parts[]) => ({
    productSign: xor(productSign(operands), and(negate, i32(1))),
    addendSign: xor(operands[2].sign, and(shrU(negate, i32(1)), i32(1))),
  });
  return {
    special({ b, format, settle }, operands, denormal) {
      const [x, y, z] = operands;
      const { productSign, addendSign } = signs(operands);
      const productInfinite = b.let(or(isInfinity(format, x), isInfinity(format, y)));
      const zInfinite = b.let(isInfinity(format, z));
      const opposite = and(zInfinite, xor(productSign, addendSign));
      const invalid = and(productInfinite, or(or(isZero(x), isZero(y)), opposite));
      b.if(
        invalid,
        () => settle(() => packInvalid(b, format)),
        () => {
          raiseFlags(b, denormal);
          b.if(or(productInfinite, zInfinite), () =>
            settle(() => packInfinity(b, format, b.let(select(productInfinite, productSign, addendSign)))),
          );
        },
      );
    },
    compute({ b, format, control }, operands) {
      const { productSign, addendSign } = signs(operands);
      const p = product(b, format, operands[0], operands[1]);
      const z = operands[2];
      const x = { sign: b.let(productSign), ...p };
      const y = { sign: b.let(addendSign), exponent: z.exponent, high: z.significand, low: i64(0) };
      return finish(b, format, addWide(b, x, y, b.let(zeroSignOf(format, control))), control);
    },
  };
}

/** The functions of one format. */
export function arithmeticFunctions(format: FloatFormat): LibraryFunction[] {
  const functions = [
    arithmetic(format, 'add', 2, () => addition(false)),
    arithmetic(format, 'sub', 2, () => addition(true)),
    arithmetic(format, 'mul', 2, () => multiplication),
    arithmetic(format, 'div', 2, () => division),
    arithmetic(format, 'sqrt', 1, () => root),
  ];
  if (format.name !== 'f80')
    functions.push(arithmetic(format, 'fma', 3, ([negate]) => fusedMultiplyAdd(negate), ['i32']));
  return functions;
}
