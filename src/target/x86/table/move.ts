/** Data movement: MOV to PUSHA (SDM vol. 2). */
import {
  add,
  and,
  convert,
  type Expr,
  eq,
  gtU,
  type IntSize,
  i32,
  i64,
  op,
  or,
  select,
  sub,
  toI64,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { arithmeticFlags, cpl, eflags, flag, gpr, segments, vector } from '../state.ts';
import { readRegister, size, writeRegister } from './arithmetic.ts';
import { type Row, row } from './row.ts';

const mov: Semantics = (b) => b.write(0, b.let(b.read(1)));

const extend =
  (signed: boolean): Semantics =>
  (b) =>
    b.write(0, convert(b.let(b.read(1)), size(b, 1), size(b, 0), signed));

const lea: Semantics = (b) => {
  const address = b.effectiveAddress(1);
  b.write(0, b.osize === 8 ? address : op('i32.wrap_i64', address));
};

const xchg: Semantics = (b) => {
  const other = b.let(b.read(1));
  let before: Expr = other;
  b.modify(0, (old) => {
    before = b.let(old);
    return other;
  });
  b.write(1, before);
};

/** Offset of the stack pointer plus `displacement`, cut to the stack's width. */
export function stackOffset(b: X86Builder, displacement: number): Expr {
  const moved = add(b.get(gpr[4]), i64(displacement));
  return b.let(b.ssize === 8 ? moved : and(moved, i64(b.ssize === 4 ? 0xffffffffn : 0xffffn)));
}

/** Sets the stack pointer to an offset made by `stackOffset`. */
export function setStack(b: X86Builder, offset: Expr): void {
  if (b.ssize === 2) b.putAt(i32(gpr[4].offset), 0, op('i32.wrap_i64', offset), 2);
  else b.put(gpr[4], offset);
}

/** Pushes a value of `width` bytes. */
export function push(b: X86Builder, value: Expr, width: IntSize): void {
  const offset = stackOffset(b, -width);
  b.store(b.linear(2, offset, width, true), width, value);
  setStack(b, offset);
}

/** Reads the value on top of the stack; the caller releases it with `drop` after all that may fault. */
export function peek(b: X86Builder, width: IntSize, displacement = 0): Expr {
  return b.load(b.linear(2, stackOffset(b, displacement), width, false), width);
}

export function drop(b: X86Builder, bytes: number): void {
  setStack(b, stackOffset(b, bytes));
}

const pushOperand: Semantics = (b) => push(b, b.let(b.read(0)), b.osize);
const pushSegment: Semantics = (b) =>
  push(b, convert(b.get(segments[segmentNumber(b)].selector), 4, b.osize, false), b.osize);

/** The segment that a fixed segment operand names. */
function segmentNumber(b: X86Builder): number {
  const e = b.read(0);
  if (e.kind !== 'const') throw new Error('not a fixed segment register');
  return e.value as number;
}

/** POP to memory: the address is computed with the stack pointer already moved. */
const popMemory: Semantics = (b) => {
  const value = peek(b, b.osize);
  const before = b.get(gpr[4]);
  drop(b, b.osize);
  const address = b.let(b.effectiveAddress(0));
  b.put(gpr[4], before);
  const linear = b.let(b.linearOfOperand(address, b.osize, true));
  b.store(linear, b.osize, value);
  drop(b, b.osize);
};

const popRegister: Semantics = (b) => {
  const value = peek(b, b.osize);
  drop(b, b.osize);
  b.write(0, value);
};

const popSegment: Semantics = (b) => {
  const value = b.let(peek(b, b.osize));
  b.helper('loadSegment', b.read(0), and(value, value.type === 'i64' ? i64(0xffff) : i32(0xffff)));
  drop(b, b.osize);
};

/** Segment registers 6 and 7 do not exist; CS is loaded by far transfers only. */
function checkSegment(b: X86Builder, operand: number, writing: boolean): void {
  const number = b.let(b.read(operand));
  b.if(writing ? or(gtU(number, i32(5)), eq(number, i32(1))) : gtU(number, i32(5)), () => b.raise(vector.UD));
}

const movToSegment: Semantics = (b) => {
  checkSegment(b, 0, true);
  b.helper('loadSegment', b.read(0), and(b.let(b.read(1)), i32(0xffff)));
};

const movFromSegment: Semantics = (b) => {
  checkSegment(b, 1, false);
  const selector = b.getAt(
    op('i32.mul', b.read(1), i32(segments[1].selector.offset - segments[0].selector.offset)),
    segments[0].selector.offset,
    'i32',
    2,
  );
  if (b.inMemory(0)) b.store(b.address(0, 2, true), 2, selector);
  else b.write(0, convert(selector, 4, size(b, 0), false));
};

const farLoad =
  (segment: number): Semantics =>
  (b) => {
    const address = b.let(b.address(1, b.osize + 2));
    const offset = b.load(address, b.osize);
    const selector = b.load(add(address, i64(b.osize)), 2);
    b.helper('loadSegment', i32(segment), selector);
    b.write(0, offset);
  };

const cmov =
  (code: number): Semantics =>
  (b) => {
    const value = b.let(b.read(1));
    const old = b.let(b.read(0));
    b.write(0, select(b.condition(code), value, old));
  };

const setcc =
  (code: number): Semantics =>
  (b) =>
    b.write(0, b.let(b.condition(code)));

/** CBW, CWDE, CDQE. */
const extendAccumulator: Semantics = (b) => {
  const half = (b.osize / 2) as IntSize;
  writeRegister(b, 0, b.osize, convert(readRegister(b, 0, half), half, b.osize, true));
};

/** CWD, CDQ, CQO: rDX becomes the sign of rAX. */
const extendToPair: Semantics = (b) => {
  const value = b.let(convert(readRegister(b, 0, b.osize), b.osize, 8, true));
  const sign = op('i64.shr_s', value, i64(63));
  writeRegister(b, 2, b.osize, b.osize === 8 ? sign : op('i32.wrap_i64', sign));
};

const pusha: Semantics = (b) => {
  const width = b.osize as 2 | 4;
  b.probeWrite(b.linear(2, stackOffset(b, -8 * width), 8 * width, true), 8 * width);
  for (let i = 0; i < 8; i++)
    b.store(b.linear(2, stackOffset(b, -(i + 1) * width), width, true), width, readRegister(b, i, width));
  drop(b, -8 * width);
};

const popa: Semantics = (b) => {
  const width = b.osize as 2 | 4;
  const values = [7, 6, 5, 4, 3, 2, 1, 0].map((_, i) => peek(b, width, i * width));
  drop(b, 8 * width);
  [7, 6, 5, 4, 3, 2, 1, 0].forEach((r, i) => {
    if (r !== 4) writeRegister(b, r, width, values[i]);
  });
};

const lahf: Semantics = (b) =>
  b.putAt(i32(gpr[0].offset + 1), 0, op('i32.or', and(b.getFlags(), i32(0xd5)), i32(2)), 1);
const sahf: Semantics = (b) => {
  const ah = b.getAt(i32(gpr[0].offset + 1), 0, 'i32', 1);
  b.putFlags(op('i32.or', and(b.getFlags(), i32(flag.OF)), and(ah, i32(0xd5))));
};

/** CLC, STC, CMC. */
const carry =
  (value: (b: X86Builder) => Expr): Semantics =>
  (b) =>
    b.overrideFlags(b.let(value(b)));
const direction =
  (value: 0 | 1): Semantics =>
  (b) =>
    b.put(eflags, value ? op('i32.or', b.get(eflags), i32(flag.DF)) : and(b.get(eflags), i32(~flag.DF)));

const xlat: Semantics = (b) => {
  const mask = b.asize === 8 ? -1n : b.asize === 4 ? 0xffffffffn : 0xffffn;
  const offset = and(add(b.get(gpr[3]), toI64(readRegister(b, 0, 1))), i64(mask));
  writeRegister(b, 0, 1, b.load(b.linearOfOperand(b.let(offset), 1, false), 1));
};

const leave: Semantics = (b) => {
  const frame = b.get(gpr[5]);
  const mask = b.ssize === 8 ? -1n : b.ssize === 4 ? 0xffffffffn : 0xffffn;
  const offset = b.let(and(frame, i64(mask)));
  const value = b.load(b.linear(2, offset, b.osize, false), b.osize);
  setStack(b, b.let(and(add(offset, i64(b.osize)), i64(mask))));
  writeRegister(b, 5, b.osize, value);
};

/** Flags that POPF at CPL 0 may change without a look at anything else. */
const plainFlags = arithmeticFlags | flag.DF | flag.IF | flag.IOPL | flag.NT | flag.ID;

const pushf: Semantics = (b) => {
  if (b.long64) {
    const image = op('i32.or', op('i32.or', b.getFlags(), and(b.get(eflags), i32(~(flag.VM | flag.RF)))), i32(2));
    push(b, convert(b.let(image), 4, b.osize, false), b.osize);
    return;
  }
  b.helper('pushf', i64(b.osize));
  push(
    b,
    b.osize === 2 ? and(op('i32.wrap_i64', b.argument(1)), i32(0xffff)) : op('i32.wrap_i64', b.argument(1)),
    b.osize,
  );
};

const popf: Semantics = (b) => {
  b.interruptWindow();
  const value = b.let(convert(peek(b, b.osize), b.osize, 4, false));
  if (!b.long64 || b.osize === 2) {
    b.helper('popf', toI64(value), i64(b.osize));
    drop(b, b.osize);
    return;
  }
  drop(b, b.osize);
  const current = b.get(eflags);
  const simple = op('i32.eqz', op('i32.or', b.get(cpl), and(xor(current, value), i32(flag.TF | flag.AC))));
  b.if(
    simple,
    () => {
      const keep = and(current, i32(~plainFlags));
      b.put(eflags, op('i32.or', keep, and(value, i32(plainFlags & ~arithmeticFlags))));
      b.putFlags(value);
    },
    () => b.helper('popf', toI64(value), i64(b.osize)),
  );
  b.forgetFlags();
};

const conditions = ['O', 'NO', 'B', 'NB', 'Z', 'NZ', 'BE', 'NBE', 'S', 'NS', 'P', 'NP', 'L', 'NL', 'LE', 'NLE'];
/** Names of the condition codes, by number. */
export const conditionNames: readonly string[] = conditions;
const byte = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');
const stack = { size64: 'stack', by: ['ssize', 'osize'] } as const;
const nothing: Semantics = () => {};

export const moveRows: readonly Row[] = [
  row('MOV', '88 /r', 'Eb,Gb', mov),
  row('MOV', '89 /r', 'Ev,Gv', mov),
  row('MOV', '8A /r', 'Gb,Eb', mov),
  row('MOV', '8B /r', 'Gv,Ev', mov),
  row('MOV', '8C /r', 'Ev,Sw', movFromSegment),
  row('MOV', '8E /r', 'Sw,Ew', movToSegment, { shadow: true }),
  row('MOV', 'A0', 'AL,Ob', mov, { by: ['asize'] }),
  row('MOV', 'A1', 'rAX,Ov', mov, { by: ['asize'] }),
  row('MOV', 'A2', 'Ob,AL', mov, { by: ['asize'] }),
  row('MOV', 'A3', 'Ov,rAX', mov, { by: ['asize'] }),
  row('MOV', 'B0+r', 'Zb,Ib', mov),
  row('MOV', 'B8+r', 'Zv,Iv', mov),
  row('MOV', 'C6 /0', 'Eb,Ib', mov),
  row('MOV', 'C7 /0', 'Ev,Iz', mov),
  row('MOVZX', '0F B6 /r', 'Gv,Eb', extend(false)),
  row('MOVZX', '0F B7 /r', 'Gv,Ew', extend(false)),
  row('MOVSX', '0F BE /r', 'Gv,Eb', extend(true)),
  row('MOVSX', '0F BF /r', 'Gv,Ew', extend(true)),
  row('MOVSXD', '63 /r', 'Gv,Ed', extend(true), { mode: 'only64' }),
  row('LEA', '8D /r', 'Gv,M', lea),
  row('XCHG', '86 /r', 'Eb,Gb', xchg, { lock: true }),
  row('XCHG', '87 /r', 'Ev,Gv', xchg, { lock: true }),
  row('XCHG', '90+r', 'rAX,Zv', xchg),
  row('PUSH', '50+r', 'Zv', pushOperand, stack),
  row('POP', '58+r', 'Zv', popRegister, stack),
  row('PUSH', '68', 'Iz', (b) => push(b, b.let(b.read(0)), b.osize), stack),
  row('PUSH', '6A', 'Ib', (b) => push(b, b.let(b.read(0)), b.osize), stack),
  row('PUSH', 'FF /6', 'Ev', pushOperand, stack),
  row('POP', '8F /0', 'Ev', (b) => (b.memory ? popMemory(b) : popRegister(b)), stack),
  ...['ES', 'CS', 'SS', 'DS'].map((name, i) =>
    row('PUSH', byte(6 + 8 * i), name, pushSegment, { ...stack, mode: 'no64' }),
  ),
  row('PUSH', '0F A0', 'FS', pushSegment, stack),
  row('PUSH', '0F A8', 'GS', pushSegment, stack),
  row('POP', '07', 'ES', popSegment, { ...stack, mode: 'no64' }),
  row('POP', '17', 'SS', popSegment, { ...stack, mode: 'no64', shadow: true }),
  row('POP', '1F', 'DS', popSegment, { ...stack, mode: 'no64' }),
  row('POP', '0F A1', 'FS', popSegment, stack),
  row('POP', '0F A9', 'GS', popSegment, stack),
  row('PUSHA', '60', '', pusha, { ...stack, mode: 'no64' }),
  row('POPA', '61', '', popa, { ...stack, mode: 'no64' }),
  row('PUSHF', '9C', '', pushf, { ...stack, by: ['ssize', 'osize', 'long64'] }),
  row('POPF', '9D', '', popf, { ...stack, by: ['ssize', 'osize', 'long64'], shadow: 'window' }),
  row('LES', 'C4 /r', 'Gv,M', farLoad(0), { mode: 'no64' }),
  row('LDS', 'C5 /r', 'Gv,M', farLoad(3), { mode: 'no64' }),
  row('LSS', '0F B2 /r', 'Gv,M', farLoad(2)),
  row('LFS', '0F B4 /r', 'Gv,M', farLoad(4)),
  row('LGS', '0F B5 /r', 'Gv,M', farLoad(5)),
  ...conditions.map((name, code) =>
    row(`CMOV${name}`, `0F ${byte(0x40 + code)} /r`, 'Gv,Ev', cmov(code), { cpuid: 'cmov' }),
  ),
  ...conditions.map((name, code) => row(`SET${name}`, `0F ${byte(0x90 + code)} /r`, 'Eb', setcc(code))),
  row('CWDE', '98', '', extendAccumulator, { by: ['osize'] }),
  row('CDQ', '99', '', extendToPair, { by: ['osize'] }),
  row('LAHF', '9F', '', lahf),
  row('SALC', 'D6', '', (b) => writeRegister(b, 0, 1, sub(i32(0), b.condition(2))), { mode: 'no64' }),
  row('SAHF', '9E', '', sahf),
  row(
    'CLC',
    'F8',
    '',
    carry(() => i32(0)),
  ),
  row(
    'STC',
    'F9',
    '',
    carry(() => i32(1)),
  ),
  row(
    'CMC',
    'F5',
    '',
    carry((b) => b.condition(3)),
  ),
  row('CLD', 'FC', '', direction(0)),
  row('STD', 'FD', '', direction(1)),
  row('XLAT', 'D7', '', xlat, { by: ['asize', 'long64'] }),
  row('LEAVE', 'C9', '', leave, { ...stack, by: ['ssize', 'osize'] }),
  row('NOP', '0F 1F /r', 'Ev', nothing),
  row('NOP', '0F 0D /r', 'Ev', nothing),
  ...[0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e].map((n) => row('NOP', `0F ${byte(n)} /r`, 'Ev', nothing)),
  row('NOP', '90', '', nothing, { withoutRexB: true }),
  row('PAUSE', 'F3 90', '', nothing, { withoutRexB: true }),
];
