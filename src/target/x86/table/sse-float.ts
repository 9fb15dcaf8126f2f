/** Float arithmetic, comparisons, minima and maxima of SSE, SSE2 and AVX (SDM vol. 2). */
import { and, type Expr, i32, i64, op, shrU } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { double, type Format, laneOf, mergeLane0, on, readHalves, readPairs, single, v, writeAll } from './fp.ts';
import { type Arithmetic, arithmetic, scalarArithmetic, scalarSquareRoot, squareRoots } from './fp-arithmetic.ts';
import { compareOperands } from './fp-compare.ts';
import type { Feature, Row } from './row.ts';
import { both, source, zero128 } from './vec.ts';

const formats = { PS: single, PD: double, SS: single, SD: double } as const;
const prefixes = { PS: 'NP', PD: '66', SS: 'F3', SD: 'F2' } as const;
type Suffix = keyof typeof formats;
const featureOf: Record<Suffix, Feature> = { PS: 'sse', SS: 'sse', PD: 'sse2', SD: 'sse2' };
const isScalar = (suffix: Suffix): boolean => suffix[0] === 'S';

/** Rows for a float operation of map 0F in its PS, PD, SS and SD forms, e.g. `floats('ADD', '58', …)`. */
export function floats(
  name: string,
  opcode: string,
  make: (f: Format, scalar: boolean) => Semantics,
  suffixes: readonly Suffix[] = ['PS', 'PD', 'SS', 'SD'],
  form: 'one' | 'two' | 'imm' = 'two',
): Row[] {
  return suffixes.flatMap((s) => {
    const size = s.toLowerCase();
    const operands = form === 'one' && !isScalar(s) ? `V${size},W${size}` : `V${size},H${size},W${size}`;
    const semantics = make(formats[s], isScalar(s));
    return both(
      `${name}${s}`,
      `${prefixes[s]}.0F ${opcode}`,
      form === 'imm' ? `${operands},Ibu` : operands,
      semantics,
      {
        cpuid: featureOf[s],
        vex: isScalar(s) ? 'scalar' : 'avx',
      },
    );
  });
}

/** ADDPS, ADDPD, ADDSS, ADDSD and the like. */
const arithmeticRows = (mnemonic: string, opcode: string, name: Arithmetic): Row[] =>
  floats(mnemonic, opcode, (f, scalar) => (b) => {
    if (!scalar) return writeAll(b, arithmetic(b, f, name, readPairs(b)));
    const x = b.let(b.readVector(source(b)));
    b.writeVector(0, scalarArithmetic(b, f, name, x, b.let(b.readVector(source(b) + 1))));
  });

const squareRoot =
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    if (!scalar) return writeAll(b, squareRoots(b, f, readHalves(b, 1)));
    const rest = b.let(b.readVector(source(b)));
    b.writeVector(0, scalarSquareRoot(b, f, rest, b.let(b.readVector(source(b) + 1))));
  };

/** MINxx and MAXxx: the second operand where either is a NaN or both are zero, which is WebAssembly's pmin with operands exchanged. */
const extreme =
  (name: 'pmin' | 'pmax') =>
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    if (scalar) {
      const rest = b.let(b.readVector(source(b)));
      const [[x, y]] = compareOperands(b, f, [[rest, b.let(b.readVector(source(b) + 1))]], i32(1), true);
      b.writeVector(0, mergeLane0(f, on(f, name, y, x), rest));
      return;
    }
    writeAll(
      b,
      compareOperands(b, f, readPairs(b), i32(1), false).map(([x, y]) => b.let(on(f, name, y, x))),
    );
  };

/** For predicates 0 to 15 which relations make them true: bit 0 less, 1 equal, 2 greater, 3 unordered (SDM vol. 2, CMPPD, table 3-1). */
const relationTable = [
  0b0010, 0b0001, 0b0011, 0b1000, 0b1101, 0b1110, 0b1100, 0b0111, 0b1010, 0b1001, 0b1011, 0b0000, 0b0101, 0b0110,
  0b0100, 0b1111,
];
/** Predicates that signal on quiet NaNs; 16 to 31 are 0 to 15 the other way round. */
const signallingSet = [1, 2, 5, 6, 9, 10, 13, 14].reduce((set, p) => set | (1 << p), 0);
const signallingPredicates = signallingSet | ((~signallingSet & 0xffff) << 16);

/** The mask of lanes where predicate `p` (i32) holds. */
function comparison(b: X86Builder, f: Format, x: Expr, y: Expr, p: Expr): Expr {
  const less = () => on(f, 'lt', x, y);
  const equal = () => on(f, 'eq', x, y);
  const greater = () => on(f, 'gt', x, y);
  const unordered = () => v('not', v('or', on(f, 'le', x, y), on(f, 'gt', x, y)));
  if (p.kind === 'const') {
    const relations = relationTable[(p.value as number) & 15];
    const terms = [less, equal, greater, unordered].filter((_, i) => relations & (1 << i)).map((term) => term());
    return terms.length ? terms.reduce((s, t) => v('or', s, t)) : zero128;
  }
  const packedTable = relationTable.reduce((table, r, i) => table | (BigInt(r) << BigInt(4 * i)), 0n);
  const relations = b.let(
    op('i32.wrap_i64', shrU(i64(packedTable), op('i64.extend_i32_u', op('i32.shl', and(p, i32(15)), i32(2))))),
  );
  const wanted = (i: number) => op('i32x4.splat', op('i32.sub', i32(0), and(shrU(relations, i32(i)), i32(1))));
  return [less, equal, greater, unordered]
    .map((term, i) => v('and', term(), wanted(i)))
    .reduce((s, t) => v('or', s, t));
}

/** CMPxx: the legacy form has predicates 0 to 7, the VEX form 0 to 31. */
const compare =
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    const p = b.let(and(b.immediate(source(b) + 2), i32(b.vex ? 31 : 7)));
    const signalling = and(shrU(i32(signallingPredicates), p), i32(1));
    if (scalar) {
      const rest = b.let(b.readVector(source(b)));
      const [[x, y]] = compareOperands(b, f, [[rest, b.let(b.readVector(source(b) + 1))]], signalling, true);
      b.writeVector(0, mergeLane0(f, comparison(b, f, x, y, p), rest));
      return;
    }
    writeAll(
      b,
      compareOperands(b, f, readPairs(b), signalling, false).map(([x, y]) => b.let(comparison(b, f, x, y, p))),
    );
  };

/** COMISx and UCOMISx: ZF, PF and CF by the relation, the others cleared. */
const compareFlags =
  (f: Format, signalling: boolean): Semantics =>
  (b) => {
    const [[xs, ys]] = compareOperands(
      b,
      f,
      [[b.let(b.readVector(0)), b.let(b.readVector(1))]],
      i32(signalling ? 1 : 0),
      true,
    );
    b.setComparison(b.let(laneOf(f, xs)), b.let(laneOf(f, ys)));
  };

const compareFlagsRows = (mnemonic: string, opcode: string, signalling: boolean): Row[] => [
  ...both(`${mnemonic}SS`, `NP.0F ${opcode}`, 'Vss,Wss', compareFlags(single, signalling), {
    cpuid: 'sse',
    vex: 'scalar',
  }),
  ...both(`${mnemonic}SD`, `66.0F ${opcode}`, 'Vsd,Wsd', compareFlags(double, signalling), {
    cpuid: 'sse2',
    vex: 'scalar',
  }),
];

export const floatRows: readonly Row[] = [
  ...arithmeticRows('ADD', '58', 'add'),
  ...arithmeticRows('MUL', '59', 'mul'),
  ...arithmeticRows('SUB', '5C', 'sub'),
  ...arithmeticRows('DIV', '5E', 'div'),
  ...floats('SQRT', '51', squareRoot, undefined, 'one'),
  ...floats('MIN', '5D', extreme('pmin')),
  ...floats('MAX', '5F', extreme('pmax')),
  ...floats('CMP', 'C2', compare, undefined, 'imm'),
  ...compareFlagsRows('UCOMI', '2E', false),
  ...compareFlagsRows('COMI', '2F', true),
];
