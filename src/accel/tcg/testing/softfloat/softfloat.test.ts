/**
 * The soft-float library against the FPU of the host: each function beside the
 * instruction that it stands for, in all rounding modes, with DAZ and FTZ, with
 * masked and unmasked exceptions.
 *
 * VIREO_SOFTFLOAT_CASES sets the number of cases a function (nightly: 20000),
 * VIREO_SEED the seed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { softfloatLibrary, state } from '../../../../target/index.ts';
import { maxBatch, type Oracle, startOracle } from '../differential/oracle.ts';
import { Random } from '../differential/random.ts';
import {
  at,
  codeBase,
  dataSize,
  type NativeCase,
  type Outcome,
  selectors,
  stateBytes,
} from '../differential/record.ts';
import { float16, float32, float64, float80, integer } from '../differential/values.ts';
import { instantiateLibrary } from './library.ts';

type Kind = 'f16' | 'f32' | 'f64' | 'f80' | 'i32' | 'i64' | 'i16';
type Value = { readonly low: bigint; readonly exponent: number };

interface Case {
  /** Library function and instruction bytes; SSE operands are in XMM0, 1, 2 (an integer in RAX), x87 operands in ST0, ST1. */
  readonly name: string;
  readonly code: string;
  readonly operands: readonly Kind[];
  readonly result: Kind;
  /** Arguments between the operands and the control word. */
  readonly extra?: readonly number[];
  /** The function's argument i is operand `order[i]`. */
  readonly order?: readonly number[];
  readonly cpuid?: 'fma' | 'f16c' | 'sse4_1';
  /** Where the result is, if not in XMM0 or ST0; memory is what RSI points at. */
  readonly from?: 'memory' | 'rflags' | 'rax';
  readonly x87?: true;
}

const two = (kind: Kind): Kind[] => [kind, kind];
const sse: Case[] = (['f32', 'f64'] as const).flatMap((kind) => {
  const p = kind === 'f32' ? 'F3' : 'F2';
  const w = kind === 'f32' ? '71' : 'F1';
  const binary = (name: string, op: string): Case => ({
    name: `${kind}_${name}`,
    code: `${p} 0F ${op} C1`,
    operands: two(kind),
    result: kind,
  });
  const fma = (op: string, order: number[], negate: number): Case => ({
    name: `${kind}_fma`,
    code: `C4 E2 ${w} ${op} C2`,
    operands: [kind, kind, kind],
    result: kind,
    order,
    extra: [negate],
    cpuid: 'fma',
  });
  const compareCode = (op: string) => (kind === 'f32' ? `0F ${op} C1` : `66 0F ${op} C1`);
  return [
    binary('add', '58'),
    binary('sub', '5C'),
    binary('mul', '59'),
    binary('div', '5E'),
    { name: `${kind}_sqrt`, code: `${p} 0F 51 C0`, operands: [kind], result: kind },
    fma('99', [0, 2, 1], 0),
    fma('A9', [1, 0, 2], 0),
    fma('B9', [1, 2, 0], 0),
    fma('9B', [0, 2, 1], 2),
    fma('9D', [0, 2, 1], 1),
    fma('9F', [0, 2, 1], 3),
    {
      name: `${kind}_compare`,
      code: compareCode('2F'),
      operands: two(kind),
      result: 'i32',
      extra: [1],
      from: 'rflags',
    },
    {
      name: `${kind}_compare`,
      code: compareCode('2E'),
      operands: two(kind),
      result: 'i32',
      extra: [0],
      from: 'rflags',
    },
    { name: `${kind}_to_i32`, code: `${p} 0F 2D C0`, operands: [kind], result: 'i32', from: 'rax' },
    { name: `${kind}_to_i64`, code: `${p} 48 0F 2D C0`, operands: [kind], result: 'i64', from: 'rax' },
    { name: `i64_to_${kind}`, code: `${p} 48 0F 2A C0`, operands: ['i64'], result: kind },
    ...[0, 1, 2, 3, 4, 8, 12].map(
      (imm): Case => ({
        name: `${kind}_round`,
        code: `66 0F 3A ${kind === 'f32' ? '0A' : '0B'} C0 0${imm.toString(16)}`,
        operands: [kind],
        result: kind,
        extra: [imm],
        cpuid: 'sse4_1',
      }),
    ),
  ];
});
const conversions: Case[] = [
  { name: 'i32_to_f32', code: 'F3 0F 2A C0', operands: ['i32'], result: 'f32' },
  { name: 'f32_to_f64', code: 'F3 0F 5A C0', operands: ['f32'], result: 'f64' },
  { name: 'f64_to_f32', code: 'F2 0F 5A C0', operands: ['f64'], result: 'f32' },
  { name: 'f16_to_f32', code: 'C4 E2 79 13 C0', operands: ['f16'], result: 'f32', cpuid: 'f16c' },
  ...[0, 1, 2, 3, 4].map(
    (imm): Case => ({
      name: 'f32_to_f16',
      code: `C4 E3 79 1D C0 0${imm}`,
      operands: ['f32'],
      result: 'f16',
      extra: [imm],
      cpuid: 'f16c',
    }),
  ),
];
const x87: Case[] = [
  { name: 'f80_add', code: 'D8 C1', operands: two('f80'), result: 'f80', x87: true },
  { name: 'f80_sub', code: 'D8 E1', operands: two('f80'), result: 'f80', x87: true },
  { name: 'f80_mul', code: 'D8 C9', operands: two('f80'), result: 'f80', x87: true },
  { name: 'f80_div', code: 'D8 F1', operands: two('f80'), result: 'f80', x87: true },
  { name: 'f80_sqrt', code: 'D9 FA', operands: ['f80'], result: 'f80', x87: true },
  { name: 'f80_round', code: 'D9 FC', operands: ['f80'], result: 'f80', x87: true },
  { name: 'f80_scale', code: 'D9 FD', operands: two('f80'), result: 'f80', x87: true },
  { name: 'f80_compare', code: 'DB F1', operands: two('f80'), result: 'i32', extra: [1], from: 'rflags', x87: true },
  { name: 'f80_compare', code: 'DB E9', operands: two('f80'), result: 'i32', extra: [0], from: 'rflags', x87: true },
  { name: 'f80_to_f32', code: 'D9 16', operands: ['f80'], result: 'f32', from: 'memory', x87: true },
  { name: 'f80_to_f64', code: 'DD 16', operands: ['f80'], result: 'f64', from: 'memory', x87: true },
  { name: 'f80_to_i16', code: 'DF 16', operands: ['f80'], result: 'i16', from: 'memory', x87: true },
  { name: 'f80_to_i32', code: 'DB 16', operands: ['f80'], result: 'i32', from: 'memory', x87: true },
  { name: 'f80_to_i64', code: 'DF 3E', operands: ['f80'], result: 'i64', from: 'memory', x87: true },
];

const memoryAddress = 0x8000;
const library = instantiateLibrary(softfloatLibrary);

function randomValue(r: Random, kind: Kind): Value {
  if (kind === 'f80') {
    const { significand, exponent } = float80(r);
    return { low: significand, exponent };
  }
  const make = { f16: float16, f32: float32, f64: float64, i16: integer, i32: integer, i64: integer }[kind];
  return { low: make(r), exponent: 0 };
}

/** Rounding mode, DAZ, FTZ and sometimes unmasked exceptions. */
function randomMxcsr(r: Random): number {
  const masks = r.chance(75) ? 0x3f : r.u32() & 0x3f;
  return (masks << 7) | (r.below(4) << 13) | (r.chance(25) ? 1 << 6 : 0) | (r.chance(25) ? 1 << 15 : 0);
}
function randomControl(r: Random): number {
  const masks = r.chance(75) ? 0x3f : r.u32() & 0x3f;
  return masks | (r.below(4) << 10) | (r.pick([0, 2, 3, 3]) << 8);
}

interface Prepared {
  readonly testCase: NativeCase;
  readonly values: readonly Value[];
  readonly control: number;
}

function prepare(c: Case, r: Random, number: number): Prepared {
  const values = c.operands.map((kind) => randomValue(r, kind));
  if (values.length > 1 && r.chance(10)) values[1] = values[0];
  const control = c.x87 ? randomControl(r) : randomMxcsr(r);
  const view = new DataView(new ArrayBuffer(stateBytes));
  view.setBigUint64(at.rip, BigInt(codeBase), true);
  view.setBigUint64(at.rflags, 0x202n, true);
  view.setBigUint64(at.gpr + 8 * 4, 0x9800n, true);
  view.setBigUint64(at.gpr + 8 * 6, BigInt(memoryAddress), true);
  view.setUint16(at.segments, selectors.code64, true);
  view.setUint16(at.segments + 2, selectors.data, true);
  view.setUint32(at.mxcsr, c.x87 ? 0x1f80 : control, true);
  view.setUint16(at.fcw, c.x87 ? control : 0x37f, true);
  if (c.x87) view.setUint8(at.ftw, 0xff);
  values.forEach((v, i) => {
    if (c.x87) {
      view.setBigUint64(at.st + 16 * i, v.low, true);
      view.setUint16(at.st + 16 * i + 8, v.exponent, true);
    } else if (c.operands[i].startsWith('i')) view.setBigUint64(at.gpr, v.low, true);
    else view.setBigUint64(at.ymm + 32 * i, v.low, true);
  });
  const code = Uint8Array.from(c.code.split(' '), (x) => Number.parseInt(x, 16));
  const testCase: NativeCase = {
    number,
    mode: 'long64',
    state: view,
    codeAddress: codeBase,
    code,
    patches: [],
  };
  return { testCase, values, control };
}

const bitsOf = { f16: 16, f32: 32, f64: 64, f80: 64, i16: 16, i32: 32, i64: 64 } as const;

interface Answer {
  readonly flags: number;
  /** Absent where an unmasked exception keeps the result from being stored. */
  readonly result?: string;
}

const show = (kind: Kind, low: bigint, exponent: number): string =>
  (kind === 'f80' ? `${(exponent & 0xffff).toString(16)}:` : '') + BigInt.asUintN(bitsOf[kind], low).toString(16);

function ours(c: Case, { values, control }: Prepared): Answer {
  library.put(state.floatFlags, 0);
  const ordered = c.order ? c.order.map((i) => values[i]) : values;
  const raw = ordered.flatMap((v, i) => {
    const kind = c.operands[i];
    if (kind === 'f80') return [v.low, v.exponent];
    return [bitsOf[kind] === 64 ? v.low : Number(BigInt.asIntN(32, v.low))];
  });
  const withControl = c.name === 'f80_compare' ? [] : [control];
  const low = BigInt(library.functions[c.name](...raw, ...(c.extra ?? []), ...withControl));
  const flags = library.get(state.floatFlags) & (c.x87 ? 0x23f : 0x3f);
  return answer(c, control, visible(c, control, flags), show(c.result, low, library.get(state.floatExponent)));
}

const unmasked = (c: Case, control: number, flags: number): number => flags & ~(c.x87 ? control : control >> 7) & 0x3f;

/** What an instruction lets be seen of exceptions: an unmasked one hides those that are found later. */
function visible(c: Case, control: number, flags: number): number {
  if (unmasked(c, control, flags) & 7) return flags & 7;
  return c.from === 'memory' && unmasked(c, control, flags) & 0x18 ? flags & 0x1f : flags;
}

function answer(c: Case, control: number, flags: number, result: string): Answer {
  const stopping = c.x87 && c.from !== 'memory' ? 7 : c.x87 ? 0x1f : 0x3f;
  return unmasked(c, control, flags) & stopping ? { flags } : { flags, result };
}

function native(c: Case, { control }: Prepared, outcome: Outcome): Answer {
  const { state: s } = outcome;
  const flags = c.x87 ? s.getUint16(at.fsw, true) & 0x23f : s.getUint32(at.mxcsr, true) & 0x3f;
  const word = (offset: number) => s.getBigUint64(offset, true);
  const result = () => {
    if (c.from === 'rflags') return word(at.rflags) & 0x45n;
    if (c.from === 'rax') return word(at.gpr);
    if (c.from === 'memory') return outcome.changes.get(memoryAddress) ?? 0n;
    return c.x87 ? word(at.st) : word(at.ymm);
  };
  return answer(c, control, flags, show(c.result, result(), s.getUint16(at.st + 8, true)));
}

const seed = Number(process.env.VIREO_SEED ?? 1);
const caseCount = Number(process.env.VIREO_SOFTFLOAT_CASES ?? 300);

async function compare(oracle: Oracle, c: Case, stream: number): Promise<void> {
  const r = new Random(seed, stream);
  for (let done = 0; done < caseCount; done += maxBatch) {
    const prepared = Array.from({ length: Math.min(maxBatch, caseCount - done) }, (_, i) => prepare(c, r, done + i));
    const outcomes = await oracle.run(prepared.map((p) => p.testCase));
    prepared.forEach((p, i) => {
      const operands = p.values.map((v, j) => show(c.operands[j], v.low, v.exponent)).join(' ');
      assert.deepEqual(
        ours(c, p),
        native(c, p, outcomes[i]),
        `${c.name} (${c.code}) of ${operands}, control ${p.control.toString(16)}, seed ${seed}`,
      );
    });
  }
}

test('soft-float functions against the host FPU', async (t) => {
  const oracle = await startOracle(new Uint8Array(dataSize));
  if (typeof oracle === 'string') return t.skip(oracle);
  t.after(() => oracle.close());
  const cases = [...sse, ...conversions, ...x87];
  for (const [stream, c] of cases.entries()) {
    await t.test(`${c.name} ${c.code}`, async (u) => {
      if (c.cpuid && !oracle.features.has(c.cpuid)) return u.skip(`the host has no ${c.cpuid}`);
      await compare(oracle, c, stream);
    });
  }
});
