/** Rows as the decoder wants them: patterns and operand codes parsed (notation in table/row.ts). */
import type { NormalVariant } from './operand.ts';
import type { Row } from './table/row.ts';

export interface Pattern {
  /** Opcode map: 0 one byte, 1 0F, 2 0F38, 3 0F3A. */
  readonly map: 0 | 1 | 2 | 3;
  readonly opcode: number;
  /** Mandatory prefix: 0 for NP, undefined when any is accepted. */
  readonly prefix: 0 | 0x66 | 0xf2 | 0xf3 | undefined;
  readonly digit: number | undefined;
  /** ModRM must be in [first, last]. */
  readonly modrm: { readonly first: number; readonly last: number } | undefined;
  /** The register is in the opcode's low three bits. */
  readonly plusR: boolean;
  readonly vex: boolean;
  readonly l: 0 | 1 | undefined;
  readonly w: 0 | 1 | undefined;
}

/** An operand code, split: `Ev` is type E, size v; a fixed register has type `reg`, a fixed number type `const`. */
export interface OperandCode {
  readonly type: string;
  readonly size: string;
}

export interface ParsedRow {
  readonly row: Row;
  readonly id: number;
  readonly pattern: Pattern;
  readonly operands: readonly OperandCode[];
  readonly hasModrm: boolean;
  /** The r/m operand must be memory (true), a register (false), or may be both (undefined). */
  readonly memory: boolean | undefined;
  /** ModRM.mod is not looked at and the r/m operand is a register: moves to and from control and debug registers. */
  readonly ignoresMod: boolean;
  /** Its variants that were met so far (see `normalVariant`). */
  readonly variants: Map<number, NormalVariant>;
}

const hex = (text: string): number => {
  const value = Number.parseInt(text, 16);
  if (!/^[0-9A-F]{2}$/.test(text)) throw new Error(`bad byte ${text} in an instruction pattern`);
  return value;
};

export function parsePattern(text: string): Pattern {
  const tokens = text.split(' ');
  const draft = {
    map: 0 as Pattern['map'],
    opcode: -1,
    prefix: undefined as Pattern['prefix'],
    digit: undefined as number | undefined,
    modrm: undefined as Pattern['modrm'],
    plusR: false,
    vex: false,
    l: undefined as Pattern['l'],
    w: undefined as Pattern['w'],
  };
  let i = 0;
  if (tokens[0].startsWith('VEX')) {
    draft.vex = true;
    draft.prefix = 0;
    for (const part of tokens[i++].split('.').slice(1)) {
      if (part === '66' || part === 'F2' || part === 'F3') draft.prefix = hex(part) as Pattern['prefix'];
      else if (part === '0F') draft.map = 1;
      else if (part === '0F38') draft.map = 2;
      else if (part === '0F3A') draft.map = 3;
      else if (part === 'W0' || part === 'W1') draft.w = part === 'W1' ? 1 : 0;
      else if (part === 'L0' || part === 'LZ' || part === '128') draft.l = 0;
      else if (part === 'L1' || part === '256') draft.l = 1;
      else if (part !== 'NP' && part !== 'WIG' && part !== 'LIG') throw new Error(`bad VEX part ${part} in ${text}`);
    }
  } else {
    const isByte = (at: number) => tokens.length > at && /^[0-9A-F]{2}/.test(tokens[at]);
    if (tokens[i] === 'NP') {
      draft.prefix = 0;
      i++;
    } else if (['66', 'F2', 'F3'].includes(tokens[i]) && tokens.length > i + 1)
      draft.prefix = hex(tokens[i++]) as Pattern['prefix'];
    if (tokens[i] === 'W1' || tokens[i] === 'W0') draft.w = tokens[i++] === 'W1' ? 1 : 0;
    if (tokens[i] === '0F' && isByte(i + 1)) {
      draft.map = 1;
      i++;
      if ((tokens[i] === '38' || tokens[i] === '3A') && isByte(i + 1)) draft.map = tokens[i++] === '38' ? 2 : 3;
    }
  }
  const opcode = tokens[i++];
  draft.plusR = opcode.endsWith('+r');
  draft.opcode = hex(opcode.replace('+r', ''));
  for (; i < tokens.length; i++) {
    const token = tokens[i];
    if (token === '/r') continue;
    if (/^\/[0-7]$/.test(token)) draft.digit = Number(token[1]);
    else if (token.startsWith('=')) {
      const first = hex(token.slice(1, 3));
      draft.modrm = { first, last: token.endsWith('+i') ? first + 7 : first };
    } else throw new Error(`bad token ${token} in pattern ${text}`);
  }
  return draft;
}

const fixedRegisters = new Set([
  'AL',
  'CL',
  'AX',
  'DX',
  'rAX',
  'eAX',
  'rCX',
  'rDX',
  'ES',
  'CS',
  'SS',
  'DS',
  'FS',
  'GS',
  'ST0',
  'STi',
  'XMM0',
]);

export function parseOperands(text: string): OperandCode[] {
  if (text === '') return [];
  return text.split(',').map((code) => {
    if (fixedRegisters.has(code)) return { type: 'reg', size: code };
    if (/^\d+$/.test(code)) return { type: 'const', size: code };
    return { type: code[0], size: code.slice(1) };
  });
}

const modrmTypes = 'EGMVWUPQNRSCD';

export function parseRow(row: Row, id: number): ParsedRow {
  const pattern = parsePattern(row.pattern);
  const operands = parseOperands(row.operands);
  const types = operands.map((o) => o.type);
  const hasModrm =
    pattern.digit !== undefined ||
    pattern.modrm !== undefined ||
    types.some((t) => modrmTypes.includes(t)) ||
    operands.some((o) => o.size === 'STi');
  let memory: boolean | undefined;
  if (types.includes('M')) memory = true;
  else if (types.some((t) => 'URN'.includes(t)) || operands.some((o) => o.size === 'STi') || pattern.modrm)
    memory = false;
  const ignoresMod = types.includes('C') || types.includes('D');
  return {
    row,
    id,
    pattern,
    operands,
    hasModrm,
    memory: ignoresMod ? undefined : memory,
    ignoresMod,
    variants: new Map(),
  };
}
