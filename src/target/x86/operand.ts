/** What an operand code means for a variant: where the value lives and how wide it is. */
import type { Variant } from './builder.ts';
import type { OperandCode, ParsedRow } from './pattern.ts';

export type OperandKind =
  | 'register'
  | 'vector'
  | 'mmx'
  | 'x87'
  | 'memory'
  | 'immediate'
  | 'relative'
  | 'number'
  | 'constant';

export interface OperandShape {
  readonly kind: OperandKind;
  /** Bytes of the operand; for vectors at most 16 (a half). */
  readonly width: number;
  /** Value of a `constant`. */
  readonly value: number;
  /** For memory: `ea` (ModRM), `moffs`, `source` (DS:rSI), `destination` (ES:rDI) or `masked` (DS:rDI). */
  readonly memory: 'ea' | 'moffs' | 'source' | 'destination' | 'masked';
}

const fixedWidths: Record<string, number> = {
  b: 1,
  bu: 1,
  w: 2,
  d: 4,
  q: 8,
  t: 10,
  dq: 16,
  qq: 16,
  x: 16,
  ps: 16,
  pd: 16,
  ss: 4,
  sd: 8,
  p: 0,
  a: 0,
  s: 0,
};

/** Width in bytes of a size code; `p` (far pointer), `a` (bound pair) and `s` (descriptor-table register) have none. */
export function operandWidth(size: string, v: Pick<Variant, 'osize' | 'w' | 'long64'>): number {
  switch (size) {
    case 'v':
      return v.osize;
    case 'z':
      return v.osize === 2 ? 2 : 4;
    case 'y':
      return v.w ? 8 : 4;
    case 'r':
      return v.long64 ? 8 : 4;
    case '':
      return v.osize;
    default: {
      const width = fixedWidths[size];
      if (width === undefined) throw new Error(`operand size ${size} is not known`);
      return width;
    }
  }
}

function shape(kind: OperandKind, width: number, value = 0, memory: OperandShape['memory'] = 'ea'): OperandShape {
  return { kind, width, value, memory };
}

/** The shape of one operand. Memory forms follow `v.memory` where ModRM chooses. */
export function operandShape(code: OperandCode, v: Variant): OperandShape {
  const { type, size } = code;
  if (type === 'const') return shape('constant', 1, Number(size));
  if (type === 'reg') return fixedRegister(size, v);
  const width = operandWidth(size, v);
  switch (type) {
    case 'E':
      return shape(v.memory ? 'memory' : 'register', width);
    case 'M':
      return shape('memory', width);
    case 'G':
    case 'R':
    case 'Z':
    case 'B':
      return shape('register', width);
    case 'W':
      return shape(v.memory ? 'memory' : 'vector', width);
    case 'V':
    case 'H':
    case 'U':
    case 'L':
      return shape('vector', width);
    case 'Q':
      return shape(v.memory ? 'memory' : 'mmx', width);
    case 'P':
    case 'N':
      return shape('mmx', width);
    case 'I':
      return shape('immediate', size === 'b' || size === 'bu' ? 1 : width);
    case 'J':
      return shape('relative', width);
    case 'A':
      return shape('immediate', width);
    case 'O':
      return shape('memory', width, 0, 'moffs');
    case 'X':
      return shape('memory', width, 0, 'source');
    case 'Y':
      return shape('memory', width, 0, 'destination');
    case 'K':
      return shape('memory', width, 0, 'masked');
    case 'S':
    case 'C':
    case 'D':
      return shape('number', width);
    default:
      throw new Error(`operand type ${type} is not known`);
  }
}

function fixedRegister(name: string, v: Variant): OperandShape {
  if (name === 'ST0' || name === 'STi') return shape('x87', 10);
  if (name === 'XMM0') return shape('vector', 16);
  if (/^[A-Z]S$/.test(name)) return shape('constant', 2, ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'].indexOf(name));
  const width = name.endsWith('L')
    ? 1
    : name.startsWith('r')
      ? v.osize
      : name.startsWith('e')
        ? v.osize === 2
          ? 2
          : 4
        : 2;
  return shape('register', width);
}

/** Number of a fixed general register. */
export const fixedRegisterNumber = (name: string): number => ({ A: 0, C: 1, D: 2 })[name.replace(/^[re]/, '')[0]] ?? 0;

/** Which facts of a variant a row's handler depends on; others are set to a default so that handlers are shared. */
export function normalizeVariant(parsed: ParsedRow, v: Variant): Variant {
  const { row, operands, pattern } = parsed;
  const sizes = operands.filter((o) => o.type !== 'const');
  const by = new Set<string>(row.by ?? []);
  const usesOsize =
    by.has('osize') ||
    sizes.some((o) => (o.type === 'reg' ? /^[re]/.test(o.size) : o.type === 'J' || ['v', 'z', ''].includes(o.size)));
  const usesW = by.has('w') || sizes.some((o) => o.size === 'y');
  const usesVl = pattern.vex && (by.has('vl') || sizes.some((o) => ['x', 'ps', 'pd', 'qq'].includes(o.size)));
  const usesMemory = operands.some((o) => 'EWQ'.includes(o.type));
  return {
    osize: usesOsize ? v.osize : 4,
    w: usesW ? v.w : false,
    vl: usesVl ? v.vl : 16,
    vex: pattern.vex,
    memory: usesMemory ? v.memory : false,
    asize: by.has('asize') ? v.asize : 8,
    ssize: by.has('ssize') ? v.ssize : 8,
    rep: by.has('rep') ? v.rep : 0,
    long64: v.long64,
    flat: v.flat,
    ready: row.unit === 'sse' || row.unit === 'avx' ? v.ready : true,
  };
}

/** A short text that names a variant, unique among those of a row. */
export const variantKey = (v: Variant): string =>
  `${v.osize}${v.w ? 'w' : ''}${v.vl}${v.memory ? 'm' : 'r'}${v.asize}${v.ssize}${v.rep}${v.long64 ? 'L' : ''}${v.flat ? 'F' : ''}${v.ready ? '' : 'U'}`;

/** A row's variant reduced to what the row depends on. */
export interface NormalVariant {
  readonly variant: Variant;
  /** Unique among all rows of a table. */
  readonly key: string;
  readonly shapes: readonly OperandShape[];
}

/** `normalizeVariant` and what follows from it, found out once for each variant of a row. */
export function normalVariant(parsed: ParsedRow, v: Variant): NormalVariant {
  const bits =
    (v.osize >> 2) |
    ((v.asize >> 2) << 2) |
    ((v.ssize >> 2) << 4) |
    (v.rep << 6) |
    (v.memory ? 1 << 8 : 0) |
    (v.vl === 32 ? 1 << 9 : 0) |
    (v.vex ? 1 << 10 : 0) |
    (v.w ? 1 << 11 : 0) |
    (v.long64 ? 1 << 12 : 0) |
    (v.flat ? 1 << 13 : 0) |
    (v.ready ? 1 << 14 : 0);
  let normal = parsed.variants.get(bits);
  if (!normal) {
    const variant = normalizeVariant(parsed, v);
    const shapes = parsed.operands.map((o) => operandShape(o, variant));
    normal = { variant, key: `${parsed.id}:${variantKey(variant)}`, shapes };
    parsed.variants.set(bits, normal);
  }
  return normal;
}
