/** Control transfer: jumps, calls, returns, loops, software interrupts (SDM vol. 2). */
import {
  add,
  and,
  convert,
  type Expr,
  eqz,
  i32,
  i64,
  ne,
  op,
  or,
  shl,
  shrS,
  sub,
  toI32,
  toI64,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { cr4, cs, vector } from '../state.ts';
import { readRegister, size, writeRegister } from './arithmetic.ts';
import { conditionNames, drop, peek, push, stackOffset } from './move.ts';
import { iret } from './privilege.ts';
import { type Row, row } from './row.ts';

const near = { size64: 'branch', ends: true } as const;
const nearStack = { ...near, by: ['ssize', 'osize', 'long64'] } as const;
const LA57 = 1 << 12;

/** #GP(0) beyond the code segment's limit; a flat one has none that an offset could exceed. */
function checkLimit(b: X86Builder, ip: Expr): void {
  if (b.osize === 2 || b.long64 || b.flat) return;
  b.if(op('i32.gt_u', toI32(ip), b.get(cs.limit)), () => b.raise(vector.GP));
}

/** The same for a direct target, before anything of the instruction is done. */
const checkDirect = (b: X86Builder): void => {
  if (b.osize !== 2 && !b.long64 && !b.flat)
    checkLimit(b, b.let(add(b.nextIp(), op('i64.extend_i32_s', b.immediate(0)))));
};

/** A branch target as an i64 offset, cut to the operand size; #GP(0) for one that is not canonical or beyond the limit. */
const target = (b: X86Builder, e: Expr): Expr => {
  const wide = b.let(e.type === 'i64' ? e : toI64(e));
  if (b.osize === 2) return and(wide, i64(0xffff));
  checkLimit(b, wide);
  if (b.long64) {
    const beyond = (bits: number) => ne(shrS(shl(wide, i64(64 - bits)), i64(64 - bits)), wide);
    b.ifUnlikely(beyond(48), () => b.if(or(eqz(and(b.get(cr4), i32(LA57))), beyond(57)), () => b.raise(vector.GP)));
  }
  return wide;
};

const jmp: Semantics = (b) => {
  checkDirect(b);
  b.goto(0);
};

const jmpIndirect: Semantics = (b) => b.jump(target(b, b.let(b.read(0))));

const call: Semantics = (b) => {
  checkDirect(b);
  push(b, returnAddress(b), b.osize);
  b.goto(0);
};

const callIndirect: Semantics = (b) => {
  const to = b.let(target(b, b.let(b.read(0))));
  push(b, returnAddress(b), b.osize);
  b.jump(to);
};

function returnAddress(b: X86Builder): Expr {
  return b.let(convert(b.nextIp(), 8, b.osize, false));
}

const ret =
  (release: boolean): Semantics =>
  (b) => {
    const to = b.let(target(b, peek(b, b.osize)));
    drop(b, b.osize);
    if (release) {
      const bytes = and(b.immediate(0), i32(0xffff));
      const offset = add(stackOffset(b, 0), toI64(bytes));
      const mask = b.ssize === 8 ? -1n : b.ssize === 4 ? 0xffffffffn : 0xffffn;
      writeRegister(b, 4, b.ssize, b.ssize === 8 ? b.let(offset) : op('i32.wrap_i64', and(offset, i64(mask))));
    }
    b.jump(to);
  };

function checkDirectIf(b: X86Builder, taken: Expr): void {
  if (b.osize !== 2 && !b.long64 && !b.flat) b.if(taken, () => checkDirect(b));
}

function branchIf(b: X86Builder, taken: Expr): void {
  checkDirectIf(b, taken);
  b.gotoIf(taken, 0);
}

const jcc =
  (code: number): Semantics =>
  (b) =>
    branchIf(b, b.let(b.condition(code)));

/** JCXZ, JECXZ, JRCXZ by address size. */
const jumpIfCounterZero: Semantics = (b) => branchIf(b, b.let(eqz(readRegister(b, 1, b.asize))));

/** LOOP (always), LOOPE (ZF = 1), LOOPNE (ZF = 0). */
const loop =
  (wanted: 'any' | 'zero' | 'nonzero'): Semantics =>
  (b) => {
    const before = readRegister(b, 1, b.asize);
    const after = b.let(
      b.asize === 8 ? sub(before, i64(1)) : and(sub(before, i32(1)), i32(b.asize === 2 ? 0xffff : -1)),
    );
    const more = b.let(eqz(eqz(after)));
    const taken = wanted === 'any' ? more : and(more, b.condition(wanted === 'zero' ? 4 : 5));
    const decided = b.let(taken);
    checkDirectIf(b, decided);
    writeRegister(b, 1, b.asize, after);
    b.gotoIf(decided, 0);
  };

/** Far pointer in memory: offset, then selector. */
function farPointer(b: X86Builder): [Expr, Expr] {
  const address = b.let(b.address(0, b.osize + 2));
  const offset = b.load(address, b.osize);
  return [b.load(add(address, i64(b.osize)), 2), offset];
}

const farDirect =
  (name: 'farJump' | 'farCall'): Semantics =>
  (b) =>
    b.helper(name, b.immediate2(), toI64(b.immediate(0)), i64(b.osize));

const farIndirect =
  (name: 'farJump' | 'farCall'): Semantics =>
  (b) => {
    const [selector, offset] = farPointer(b);
    b.helper(name, selector, offset, i64(b.osize));
  };

const farReturn =
  (release: boolean): Semantics =>
  (b) =>
    b.helper('farReturn', release ? and(b.immediate(0), i32(0xffff)) : i32(0), i64(b.osize));

const enter: Semantics = (b) =>
  b.helper('enter', and(b.immediate(0), i32(0xffff)), and(b.immediate2(), i32(31)), i64(b.osize));

const into: Semantics = (b) => b.if(b.condition(0), () => b.helper('interrupt', i64(vector.OF), i64(1)));

const bound: Semantics = (b) => {
  const address = b.let(b.address(1, b.osize * 2));
  const index = convert(b.let(b.read(0)), size(b, 0), 8, true);
  b.helper('bound', index, address, i64(b.osize));
};

const far = { ends: true, by: ['osize', 'long64'] } as const;
const byte = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');

export const controlRows: readonly Row[] = [
  row('JMP', 'EB', 'Jb', jmp, near),
  row('JMP', 'E9', 'Jz', jmp, near),
  row('JMP', 'FF /4', 'Ev', jmpIndirect, { ...near, by: ['long64'] }),
  row('CALL', 'E8', 'Jz', call, nearStack),
  row('CALL', 'FF /2', 'Ev', callIndirect, nearStack),
  row('RET', 'C3', '', ret(false), { ...nearStack }),
  row('RET', 'C2', 'Iw', ret(true), { ...nearStack }),
  ...conditionNames.map((name, code) => row(`J${name}`, byte(0x70 + code), 'Jb', jcc(code), { size64: 'branch' })),
  ...conditionNames.map((name, code) =>
    row(`J${name}`, `0F ${byte(0x80 + code)}`, 'Jz', jcc(code), { size64: 'branch' }),
  ),
  row('JCXZ', 'E3', 'Jb', jumpIfCounterZero, { size64: 'branch', by: ['asize'] }),
  row('LOOP', 'E2', 'Jb', loop('any'), { size64: 'branch', by: ['asize'] }),
  row('LOOPE', 'E1', 'Jb', loop('zero'), { size64: 'branch', by: ['asize'] }),
  row('LOOPNE', 'E0', 'Jb', loop('nonzero'), { size64: 'branch', by: ['asize'] }),
  row('JMPF', 'EA', 'Av', farDirect('farJump'), { ...far, mode: 'no64' }),
  row('CALLF', '9A', 'Av', farDirect('farCall'), { ...far, mode: 'no64' }),
  row('JMPF', 'FF /5', 'M', farIndirect('farJump'), far),
  row('CALLF', 'FF /3', 'M', farIndirect('farCall'), far),
  row('RETF', 'CB', '', farReturn(false), far),
  row('RETF', 'CA', 'Iw', farReturn(true), far),
  row('IRET', 'CF', '', iret, { ...far, ends: 'jump' }),
  row('INT3', 'CC', '', (b) => b.helper('interrupt', i64(vector.BP), i64(1)), { ends: true }),
  row('INT', 'CD', 'Ibu', (b) => b.helper('interrupt', and(b.immediate(0), i32(0xff)), i64(0)), { ends: true }),
  row('INTO', 'CE', '', into, { mode: 'no64' }),
  row('INT1', 'F1', '', (b) => b.helper('interrupt', i64(vector.DB), i64(2)), { ends: true }),
  row('ENTER', 'C8', 'Iw,Ib', enter, { size64: 'stack', by: ['osize', 'ssize'] }),
  row('BOUND', '62 /r', 'Gv,M', bound, { mode: 'no64' }),
  row('UD2', '0F 0B', '', (b) => b.raise(vector.UD), { ends: true }),
  row('UD1', '0F B9 /r', 'Gv,Ev', (b) => b.raise(vector.UD), { ends: true }),
];

/** What the decoder's failures do; not part of the table. */
export const undefinedOpcode: Row = row('(bad)', '0F 0B', '', (b) => b.raise(vector.UD), { ends: true });
export const tooLongInstruction: Row = row('(too long)', '0F 0B', '', (b) => b.raise(vector.GP), { ends: true });
