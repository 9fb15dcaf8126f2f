/** String instructions and REP (SDM vol. 2: MOVS, STOS, …; vol. 1, 7.3.9). */

import type { IntSize } from '../../ir/index.ts';
import { add, and, type Expr, eqz, i32, i64, mul, op, select, sub, zeroExtend } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { eflags, flag, gpr } from '../state.ts';
import { readRegister, size, writeRegister } from './arithmetic.ts';
import { type Row, row } from './row.ts';

/** Distance to the next element: +width, or -width with DF set. */
function stride(b: X86Builder, width: IntSize): Expr {
  return b.let(select(and(b.get(eflags), i32(flag.DF)), i64(-width), i64(width)));
}

/** Adds to RSI or RDI within the address size. */
function advance(b: X86Builder, register: 6 | 7, by: Expr): void {
  const moved = add(b.get(gpr[register]), by);
  writeRegister(b, register, b.asize, b.asize === 8 ? moved : op('i32.wrap_i64', moved));
}

const counter = (b: X86Builder): Expr => readRegister(b, 1, b.asize);

function countDown(b: X86Builder): Expr {
  const before = counter(b);
  const left = b.let(b.asize === 8 ? sub(before, i64(1)) : zeroExtend(b.asize as IntSize, sub(before, i32(1))));
  writeRegister(b, 1, b.asize, left);
  return left;
}

/**
 * One element, or under REP as many as there are, one a turn, so that a fault or
 * an interrupt finds the registers as the manual says.
 * `element` does the work and returns the condition to go on, if there is one.
 */
const repeated =
  (
    element: (b: X86Builder) => Expr | undefined,
    bulk?: (b: X86Builder) => void,
    check: (b: X86Builder) => void = () => {},
  ): Semantics =>
  (b) => {
    check(b);
    if (b.rep === 0) {
      element(b);
      return;
    }
    b.if(eqz(eqz(counter(b))), () => {
      bulk?.(b);
      const goOn = element(b);
      const left = countDown(b);
      const more = left.type === 'i64' ? eqz(eqz(left)) : left;
      b.forgetFlags();
      b.if(goOn ? and(eqz(eqz(more)), goOn) : more, () => b.repeat());
    });
  };

/**
 * Moves as many elements at once as fit the pages of source and destination
 * (never the last one, which `element` does), when DF is 0 and both pages are at hand.
 */
const moveBulk = (b: X86Builder): void => {
  if (b.asize !== 8) return;
  const width = b.width(0);
  const destination = b.let(b.address(0, width, true));
  const source = b.let(b.address(1, width));
  const done = b.bulkMove(destination, source, b.let(mul(sub(counter(b), i64(1)), i64(width))));
  b.if(eqz(eqz(done)), () => finishBulk(b, done, width, true));
};

const storeBulk = (b: X86Builder): void => {
  if (b.asize !== 8) return;
  const width = b.width(0) as IntSize;
  const destination = b.let(b.address(0, width, true));
  const done = b.bulkFill(
    destination,
    readRegister(b, 0, width),
    b.let(mul(sub(counter(b), i64(1)), i64(width))),
    width,
  );
  b.if(eqz(eqz(done)), () => finishBulk(b, done, width, false));
};

function finishBulk(b: X86Builder, done: Expr, width: number, source: boolean): void {
  advance(b, 7, done);
  if (source) advance(b, 6, done);
  writeRegister(b, 1, 8, b.let(sub(counter(b), op('i64.div_u', done, i64(width)))));
}

const movs = repeated((b) => {
  const by = stride(b, size(b, 0));
  b.write(0, b.let(b.read(1)));
  advance(b, 6, by);
  advance(b, 7, by);
  return undefined;
}, moveBulk);

const stos = repeated((b) => {
  const by = stride(b, size(b, 0));
  b.write(0, readRegister(b, 0, size(b, 0)));
  advance(b, 7, by);
  return undefined;
}, storeBulk);

/** Passes over the elements that do not end the search, up to the last one, as far as the pages go. */
const scanBulk =
  (both: boolean) =>
  (b: X86Builder): void => {
    if (b.asize !== 8) return;
    const width = size(b, 0);
    // CMPS has the source first.
    const destination = b.let(b.address(both ? 1 : 0, width));
    const left = b.let(mul(sub(counter(b), i64(1)), i64(width)));
    const source = both ? b.let(b.address(0, width)) : undefined;
    const done = b.bulkScan(destination, source ?? readRegister(b, 0, width), both, left, width, b.rep === 1);
    b.if(eqz(eqz(done)), () => finishBulk(b, done, width, both));
  };

const lods = repeated((b) => {
  const by = stride(b, size(b, 1));
  b.write(0, b.let(b.read(1)));
  advance(b, 6, by);
  return undefined;
});

/** Under REPE (F3) goes on while equal, under REPNE (F2) while not. */
const untilMismatch = (b: X86Builder): Expr => b.let(b.condition(b.rep === 2 ? 4 : 5));

const cmps = repeated((b) => {
  const width = size(b, 0);
  const by = stride(b, width);
  const left = b.let(b.read(0));
  const right = b.let(b.read(1));
  b.setFlags('sub', width, b.let(zeroExtend(width, sub(left, right))), right, left);
  advance(b, 6, by);
  advance(b, 7, by);
  return untilMismatch(b);
}, scanBulk(true));

const scas = repeated((b) => {
  const width = size(b, 0);
  const by = stride(b, width);
  const right = b.let(b.read(0));
  const left = readRegister(b, 0, width);
  b.setFlags('sub', width, b.let(zeroExtend(width, sub(left, right))), right, left);
  advance(b, 7, by);
  return untilMismatch(b);
}, scanBulk(false));

const port = (b: X86Builder): Expr => readRegister(b, 2, 2);

/** The permission is looked at even when the count is 0. */
const checkPort =
  (operand: number) =>
  (b: X86Builder): void =>
    b.helper('ioCheck', port(b), i64(size(b, operand)));

/** INS: the destination is checked before the port is read. */
const ins = repeated(
  (b) => {
    const width = size(b, 0);
    const by = stride(b, width);
    const address = b.let(b.address(0, width, true));
    b.probeWrite(address, width);
    b.helper('portIn', port(b), i64(width));
    const value = b.argument(2);
    b.store(address, width, op('i32.wrap_i64', value));
    advance(b, 7, by);
    return undefined;
  },
  undefined,
  checkPort(0),
);

const outs = repeated(
  (b) => {
    const width = size(b, 1);
    const by = stride(b, width);
    const value = b.let(b.read(1));
    b.helper('portOut', port(b), i64(width), value);
    advance(b, 6, by);
    return undefined;
  },
  undefined,
  checkPort(1),
);

const by = { by: ['asize', 'rep', 'long64'] } as const;
const onMemory = { ...by, repeats: true } as const;

export const stringRows: readonly Row[] = [
  row('MOVSB', 'A4', 'Yb,Xb', movs, onMemory),
  row('MOVS', 'A5', 'Yv,Xv', movs, onMemory),
  row('CMPSB', 'A6', 'Xb,Yb', cmps, onMemory),
  row('CMPS', 'A7', 'Xv,Yv', cmps, onMemory),
  row('STOSB', 'AA', 'Yb,AL', stos, onMemory),
  row('STOS', 'AB', 'Yv,rAX', stos, onMemory),
  row('LODSB', 'AC', 'AL,Xb', lods, onMemory),
  row('LODS', 'AD', 'rAX,Xv', lods, onMemory),
  row('SCASB', 'AE', 'Yb,AL', scas, onMemory),
  row('SCAS', 'AF', 'Yv,rAX', scas, onMemory),
  row('INSB', '6C', 'Yb,DX', ins, by),
  row('INS', '6D', 'Yz,DX', ins, by),
  row('OUTSB', '6E', 'DX,Xb', outs, by),
  row('OUTS', '6F', 'DX,Xz', outs, by),
];
