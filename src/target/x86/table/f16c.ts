/** F16C: half-precision conversions (SDM vol. 2, VCVTPH2PS and VCVTPS2PH). */
import { type Expr, i32, type LibraryFunction, lane, op } from '../../ir/index.ts';
import type { Semantics } from '../builder.ts';
import { mxcsr } from '../state.ts';
import { readHalves, slowly, slowlyUnless, v, writeAll } from './fp.ts';
import type { Row } from './row.ts';
import { avx, lanes, low64, pick, zero128 } from './vec.ts';

/** `sse_f16_to_f32` (v): the four low halves as singles, by soft-float. */
const halvesToSingles: LibraryFunction = {
  name: 'sse_f16_to_f32',
  params: ['v128'],
  result: 'v128',
  body(b, x) {
    const out = b.variable(zero128);
    const m = b.get(mxcsr);
    for (let i = 0; i < 4; i++)
      b.set(out, lane('i32x4.replace_lane', i, out, b.call('f16_to_f32', lane('i16x8.extract_lane_u', i, x), m)));
    return out;
  },
};

/** `sse_f32_to_f16` (v, imm): four singles as halves in the low 8 bytes. */
const singlesToHalves: LibraryFunction = {
  name: 'sse_f32_to_f16',
  params: ['v128', 'i32'],
  result: 'v128',
  body(b, x, imm) {
    const out = b.variable(zero128);
    const m = b.get(mxcsr);
    for (let i = 0; i < 4; i++)
      b.set(out, lane('i16x8.replace_lane', i, out, b.call('f32_to_f16', lane('i32x4.extract_lane', i, x), imm, m)));
    return out;
  },
};

/** Fast: no NaN among the halves. The exponent is rebiased by an exact multiplication, which also normalises denormals. */
const fromHalves: Semantics = (b) => {
  const source = b.let(b.readVector(1));
  const parts = b.vl === 32 ? [source, b.let(pick(8, source, source, 1, 1))] : [source];
  const wide = parts.map((p) => b.let(op('i32x4.extend_low_i16x8_u', p)));
  const magnitudes = wide.map((w) => b.let(v('and', w, lanes(4, 0x7fff))));
  const results = magnitudes.map((m, i) => {
    const scaled = op('f32x4.mul', op('i32x4.shl', m, i32(13)), lanes(4, 0x77800000)); // 2^112
    const infinite = v('and', op('i32x4.eq', m, lanes(4, 0x7c00)), lanes(4, 0x7f800000));
    const sign = op('i32x4.shl', v('and', wide[i], lanes(4, 0x8000)), i32(16));
    return b.variable(v('or', v('or', scaled, infinite), sign));
  });
  const nan = magnitudes.map((m) => op('i32x4.gt_s', m, lanes(4, 0x7c00))).reduce((p, q) => v('or', p, q));
  slowlyUnless(b, op('i32.eqz', op('v128.any_true', nan)), () => {
    for (const [i, r] of results.entries()) b.set(r, b.call('sse_f16_to_f32', parts[i]));
  });
  writeAll(b, results);
};

const toHalves: Semantics = (b) => {
  const xs = readHalves(b, 1);
  const imm = b.immediate(2);
  const bytes = b.vl === 32 ? 16 : 8;
  const address = b.memory ? b.let(b.address(0, bytes, true)) : undefined;
  if (address) b.probeWrite(address, bytes);
  const results: Expr[] = [];
  slowly(b, () => {
    for (const x of xs) results.push(b.let(b.call('sse_f32_to_f16', x, imm)));
  });
  const all = b.vl === 32 ? b.let(pick(8, results[0], results[1], 0, 2)) : results[0];
  if (!address) b.writeVector(0, all);
  else if (b.vl === 32) b.store128(address, all);
  else b.store(address, 8, low64(all));
};

export const f16cLibrary: readonly LibraryFunction[] = [halvesToSingles, singlesToHalves];

export const f16cRows: readonly Row[] = [
  avx('VCVTPH2PS', 'L0.66.0F38.W0 13', 'Vdq,Wq', fromHalves, { cpuid: 'f16c' }),
  avx('VCVTPH2PS', 'L1.66.0F38.W0 13', 'Vqq,Wdq', fromHalves, { cpuid: 'f16c' }),
  avx('VCVTPS2PH', 'L0.66.0F3A.W0 1D', 'Wq,Vdq,Ibu', toHalves, { cpuid: 'f16c' }),
  avx('VCVTPS2PH', 'L1.66.0F3A.W0 1D', 'Wdq,Vqq,Ibu', toHalves, { cpuid: 'f16c' }),
];
