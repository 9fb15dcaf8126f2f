/** x87 control: words, environment and state in memory, initialisation (SDM vol. 1, 8.1.9, 8.1.10; vol. 2, FCLEX to FSTSW). */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  i32,
  i64,
  type LibraryFunction,
  ne,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
  xor,
} from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import {
  cr0,
  eflags,
  flag,
  fprSignificand,
  fpuControl,
  fpuCs,
  fpuDp,
  fpuDs,
  fpuIp,
  fpuOpcode,
  fpuStatus,
  fpuTags,
  fpuTop,
  vector,
} from '../state.ts';
import { type Row, row } from './row.ts';
import { emitPendingCheck } from './units.ts';
import { statusBits } from './x87-stack.ts';

const waits = { unit: 'x87', cpuid: 'fpu' } as const;
const noWait = { unit: 'x87-nowait', cpuid: 'fpu' } as const;

/** Bits of the control word that can be written, and the one that is always set. */
const controlMask = 0x1f3f;
const controlFixed = 0x40;
const initialControl = 0x37f;
const registers = fprSignificand[0].offset;

/** The status word with TOP in bits 11–13. */
const statusWord = (b: Builder): Expr => or(b.get(fpuStatus), shl(b.get(fpuTop), i32(11)));

/** Takes a control and a status word; ES and B follow from them. */
function putWords(b: Builder, control: Expr, status: Expr): void {
  const word = b.let(or(and(control, i32(controlMask)), i32(controlFixed)));
  const pending = and(and(status, i32(0x3f)), xor(word, i32(-1)));
  b.put(fpuControl, word);
  b.put(fpuTop, and(shrU(status, i32(11)), i32(7)));
  b.put(fpuStatus, or(and(status, i32(0x477f)), select(pending, i32(statusBits.ES | statusBits.B), i32(0))));
}

function loadControl(b: X86Builder): void {
  const control = b.read(0);
  putWords(b, control, b.let(statusWord(b)));
}

function initialise(b: Builder): void {
  b.put(fpuControl, i32(initialControl));
  for (const field of [fpuStatus, fpuTop, fpuTags, fpuOpcode, fpuCs, fpuDs]) b.put(field, i32(0));
  b.put(fpuIp, i64(0));
  b.put(fpuDp, i64(0));
}

// ---- tags: two bits a register in memory, computed from the contents ----

const tagKinds = { valid: 0, zero: 1, special: 2, empty: 3 } as const;

const tagFunctions: readonly LibraryFunction[] = [
  {
    name: 'x87_tag_word',
    params: [],
    result: 'i32',
    body(b) {
      const word = b.variable(i32(0));
      const i = b.variable(i32(8));
      b.loop((again) => {
        b.set(i, sub(i, i32(1)));
        const slot = b.let(shl(i, i32(4)));
        const significand = b.getAt(slot, registers, 'i64', 8);
        const exponent = b.let(and(b.getAt(slot, registers + 8, 'i32', 2), i32(0x7fff)));
        const zero = and(eqz(exponent), eqz(significand));
        const normal = and(and(ne(exponent, i32(0)), ne(exponent, i32(0x7fff))), toI32(shrU(significand, i64(63))));
        const used = select(zero, i32(tagKinds.zero), select(normal, i32(tagKinds.valid), i32(tagKinds.special)));
        const inUse = and(shrU(b.get(fpuTags), i), i32(1));
        b.set(word, or(shl(word, i32(2)), select(inUse, used, i32(tagKinds.empty))));
        b.if(i, again);
      });
      return word;
    },
  },
  {
    name: 'x87_take_tags',
    params: ['i32'],
    result: undefined,
    body(b, word) {
      const tags = b.variable(i32(0));
      const i = b.variable(i32(8));
      b.loop((again) => {
        b.set(i, sub(i, i32(1)));
        const tag = and(shrU(word, shl(i, i32(1))), i32(3));
        b.set(tags, or(shl(tags, i32(1)), ne(tag, i32(tagKinds.empty))));
        b.if(i, again);
      });
      b.put(fpuTags, tags);
      return undefined;
    },
  },
];

// ---- environment: 14 or 28 bytes, in real and virtual-8086 mode with 20- or 32-bit linear pointers (SDM vol. 1, figures 8-9 to 8-12) ----

/** The environment's seven units, of 2 or 4 bytes. */
type Environment = readonly Expr[];

const inProtectedMode = (b: Builder): Expr => and(and(b.get(cr0), i32(1)), eqz(and(b.get(eflags), i32(flag.VM))));

const linearPointer = (selector: Expr, offset: Expr): Expr => add(shl(selector, i32(4)), toI32(offset));

function environment(b: X86Builder): Environment {
  const high = (word: Expr) => (b.osize === 2 ? word : or(word, i32(0xffff0000)));
  const head = [high(b.get(fpuControl)), high(statusWord(b)), high(b.call('x87_tag_word'))].map((e) => b.let(e));
  const ip = b.variable(toI32(b.get(fpuIp)));
  const code = b.variable(or(b.get(fpuCs), b.osize === 2 ? i32(0) : shl(b.get(fpuOpcode), i32(16))));
  const dp = b.variable(toI32(b.get(fpuDp)));
  const data = b.variable(b.osize === 2 ? b.get(fpuDs) : or(b.get(fpuDs), i32(0xffff0000)));
  if (!b.long64) {
    b.if(
      inProtectedMode(b),
      () => {},
      () => {
        const codeLinear = b.let(linearPointer(b.get(fpuCs), ip));
        const dataLinear = b.let(linearPointer(b.get(fpuDs), dp));
        const upper = (linear: Expr) =>
          b.osize === 2 ? and(shrU(linear, i32(4)), i32(0xf000)) : and(shrU(linear, i32(4)), i32(0x0ffff000));
        b.set(code, or(upper(codeLinear), b.get(fpuOpcode)));
        b.set(data, upper(dataLinear));
        b.set(ip, b.osize === 2 ? codeLinear : or(and(codeLinear, i32(0xffff)), i32(0)));
        b.set(dp, b.osize === 2 ? dataLinear : and(dataLinear, i32(0xffff)));
      },
    );
  }
  return [...head, ip, code, dp, data];
}

const unitSize = (b: X86Builder): 2 | 4 => (b.osize === 2 ? 2 : 4);
const environmentSize = (b: X86Builder): number => 7 * unitSize(b);

function storeEnvironment(b: X86Builder, linear: Expr): void {
  for (const [i, unit] of environment(b).entries()) b.store(add(linear, i64(i * unitSize(b))), unitSize(b), unit);
}

function loadUnits(b: X86Builder, linear: Expr): Environment {
  return Array.from({ length: 7 }, (_, i) => b.load(add(linear, i64(i * unitSize(b))), unitSize(b)));
}

function takeEnvironment(b: X86Builder, [control, status, tags, ip, code, dp, data]: Environment): void {
  putWords(b, control, status);
  b.call('x87_take_tags', and(tags, i32(0xffff)));
  const offsets = [b.variable(ip), b.variable(dp)];
  const selectors = [b.variable(and(code, i32(0xffff))), b.variable(and(data, i32(0xffff)))];
  const opcode = b.variable(b.osize === 2 ? b.get(fpuOpcode) : and(shrU(code, i32(16)), i32(0x7ff)));
  if (!b.long64) {
    b.if(
      inProtectedMode(b),
      () => {},
      () => {
        const upper = (word: Expr) =>
          b.osize === 2 ? shl(and(word, i32(0xf000)), i32(4)) : shl(and(word, i32(0x0ffff000)), i32(4));
        b.set(offsets[0], or(and(ip, i32(0xffff)), upper(code)));
        b.set(offsets[1], or(and(dp, i32(0xffff)), upper(data)));
        b.set(opcode, and(code, i32(0x7ff)));
        for (const s of selectors) b.set(s, i32(0));
      },
    );
  }
  b.put(fpuIp, toI64(offsets[0]));
  b.put(fpuDp, toI64(offsets[1]));
  b.put(fpuCs, selectors[0]);
  b.put(fpuDs, selectors[1]);
  b.put(fpuOpcode, opcode);
}

const storedEnvironment = (b: X86Builder): void => {
  const linear = b.let(b.address(0, environmentSize(b), true));
  b.probeWrite(linear, environmentSize(b));
  storeEnvironment(b, linear);
  // All exceptions are masked afterwards, so that a handler can use the x87.
  b.put(fpuControl, or(b.get(fpuControl), i32(0x3f)));
  b.put(fpuStatus, and(b.get(fpuStatus), i32(~(statusBits.ES | statusBits.B))));
};

// ---- state: the environment and ST(0) to ST(7), ten bytes each ----

const slotOf = (b: Builder, i: Expr): Expr => b.let(shl(and(add(b.get(fpuTop), i), i32(7)), i32(4)));

function save(b: X86Builder): void {
  const size = environmentSize(b) + 80;
  const linear = b.let(b.address(0, size, true));
  b.probeWrite(linear, size);
  storeEnvironment(b, linear);
  for (let i = 0; i < 8; i++) {
    const slot = slotOf(b, i32(i));
    const at = b.let(add(linear, i64(environmentSize(b) + 10 * i)));
    b.store(at, 8, b.getAt(slot, registers, 'i64', 8));
    b.store(add(at, i64(8)), 2, b.getAt(slot, registers + 8, 'i32', 2));
  }
  initialise(b);
}

function restore(b: X86Builder): void {
  const linear = b.let(b.address(0, environmentSize(b) + 80));
  const units = loadUnits(b, linear);
  const values = Array.from({ length: 8 }, (_, i) => {
    const at = b.let(add(linear, i64(environmentSize(b) + 10 * i)));
    return { significand: b.load(at, 8), exponent: b.load(add(at, i64(8)), 2) };
  });
  takeEnvironment(b, units);
  values.forEach(({ significand, exponent }, i) => {
    const slot = slotOf(b, i32(i));
    b.putAt(slot, registers, significand, 8);
    b.putAt(slot, registers + 8, exponent, 4);
  });
}

const byOsize = { by: ['osize', 'long64'] } as const;

/** FWAIT: #NM only with MP and TS both set, whatever EM says. */
function wait(b: X86Builder): void {
  const monitored = i32(2 | 8);
  b.if(eq(and(b.get(cr0), monitored), monitored), () => b.raise(vector.NM));
  emitPendingCheck(b);
}

const clearExceptions = (b: X86Builder): void => b.put(fpuStatus, and(b.get(fpuStatus), i32(0x7f00)));

export const x87ControlLibrary: readonly LibraryFunction[] = tagFunctions;

export const x87ControlRows: readonly Row[] = [
  row('FWAIT', '9B', '', wait),
  row('FLDCW', 'D9 /5', 'Mw', loadControl, waits),
  row('FNSTCW', 'D9 /7', 'Mw', (b) => b.write(0, b.get(fpuControl)), noWait),
  row('FNSTSW', 'DD /7', 'Mw', (b) => b.write(0, b.let(statusWord(b))), noWait),
  row('FNSTSW', 'DF =E0', 'AX', (b) => b.write(0, b.let(statusWord(b))), noWait),
  row('FNCLEX', 'DB =E2', '', clearExceptions, noWait),
  row('FNINIT', 'DB =E3', '', initialise, noWait),
  row('FLDENV', 'D9 /4', 'M', (b) => takeEnvironment(b, loadUnits(b, b.let(b.address(0, environmentSize(b))))), {
    ...waits,
    ...byOsize,
  }),
  row('FNSTENV', 'D9 /6', 'M', storedEnvironment, { ...noWait, ...byOsize }),
  row('FRSTOR', 'DD /4', 'M', restore, { ...waits, ...byOsize }),
  row('FNSAVE', 'DD /6', 'M', save, { ...noWait, ...byOsize }),
  // The 8087's interrupt enable and the 80287's protected mode: no operations since.
  ...['E0 FNENI', 'E1 FNDISI', 'E4 FNSETPM'].map((text) =>
    row(text.slice(3), `DB =${text.slice(0, 2)}`, '', () => {}, noWait),
  ),
];
