/** SHA-NI: rounds and message schedules of SHA-1 and SHA-256 (SDM vol. 2; FIPS 180-4). Memory operands need no alignment. */
import { add, and, type Expr, eq, i32, lane, rotl, rotr, select, shrU, xor } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { xmm } from '../state.ts';
import { v } from './fp.ts';
import { type Row, row } from './row.ts';
import { pick, zero128 } from './vec.ts';

/** Lane n of a vector as i32; the manual's [127:96] is lane 3. */
const dword = (x: Expr, n: number): Expr => lane('i32x4.extract_lane', n, x);
/** A vector of four dwords, lane 3 first as the manual writes it. */
const gather4 = (d3: Expr, d2: Expr, d1: Expr, d0: Expr): Expr =>
  [d0, d1, d2, d3].reduce((out, d, n) => lane('i32x4.replace_lane', n, out, d), zero128);
const not = (e: Expr): Expr => xor(e, i32(-1));
const turn = (e: Expr, n: number): Expr => rotr(e, i32(n));
const sum = (...terms: Expr[]): Expr => terms.reduce(add);

const choose = (x: Expr, y: Expr, z: Expr): Expr => xor(and(x, y), and(not(x), z));
const majority = (x: Expr, y: Expr, z: Expr): Expr => xor(xor(and(x, y), and(x, z)), and(y, z));
const parity = (x: Expr, y: Expr, z: Expr): Expr => xor(xor(x, y), z);

/** Semantics of destination ← f(destination, source). */
const binary =
  (compute: (b: X86Builder, x: Expr, y: Expr) => Expr): Semantics =>
  (b) => {
    const y = b.let(b.readVector(1));
    b.writeVector(0, b.let(compute(b, b.let(b.readVector(0)), y)));
  };

// ---- SHA-1 ----

const sha1Constants = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6];

const sha1Rounds = binary((b, x, words) => {
  const stage = b.let(and(b.immediate(2), i32(3)));
  const byStage = (values: readonly Expr[]) =>
    [0, 1, 2].reduceRight((rest, n) => select(eq(stage, i32(n)), values[n], rest), values[3]);
  const constant = b.let(byStage(sha1Constants.map(i32)));
  let [A, B, C, D] = [3, 2, 1, 0].map((n) => b.let(dword(x, n)));
  let E: Expr = i32(0); // the first word comes with E added
  for (const n of [3, 2, 1, 0]) {
    const mixed = byStage([choose(B, C, D), parity(B, C, D), majority(B, C, D), parity(B, C, D)]);
    const next = b.let(sum(mixed, rotl(A, i32(5)), dword(words, n), E, constant));
    [A, B, C, D, E] = [next, A, b.let(rotl(B, i32(30))), C, D];
  }
  return gather4(A, B, C, D);
});

const sha1NextE = binary((_b, x, y) => lane('i32x4.replace_lane', 3, y, add(dword(y, 3), rotl(dword(x, 3), i32(30)))));
const sha1Message1 = binary((_b, x, y) => v('xor', x, pick(8, y, x, 1, 2)));
const sha1Message2 = binary((b, x, y) => {
  const scheduled = (word: Expr, with3: Expr) => b.let(rotl(xor(word, with3), i32(1)));
  const w16 = scheduled(dword(x, 3), dword(y, 2));
  const w17 = scheduled(dword(x, 2), dword(y, 1));
  const w18 = scheduled(dword(x, 1), dword(y, 0));
  return gather4(w16, w17, w18, scheduled(dword(x, 0), w16));
});

// ---- SHA-256 ----

const bigSigma0 = (x: Expr): Expr => parity(turn(x, 2), turn(x, 13), turn(x, 22));
const bigSigma1 = (x: Expr): Expr => parity(turn(x, 6), turn(x, 11), turn(x, 25));
const sigma0 = (x: Expr): Expr => parity(turn(x, 7), turn(x, 18), shrU(x, i32(3)));
const sigma1 = (x: Expr): Expr => parity(turn(x, 17), turn(x, 19), shrU(x, i32(10)));

const sha256Rounds = binary((b, x, y) => {
  const words = b.get(xmm[0]);
  const at = (e: Expr, n: number) => b.let(dword(e, n));
  let [A, B, C, D, E, F, G, H] = [at(y, 3), at(y, 2), at(x, 3), at(x, 2), at(y, 1), at(y, 0), at(x, 1), at(x, 0)];
  for (const n of [0, 1]) {
    const partial = b.let(sum(choose(E, F, G), bigSigma1(E), dword(words, n), H));
    const next = b.let(sum(partial, majority(A, B, C), bigSigma0(A)));
    [A, B, C, D, E, F, G, H] = [next, A, B, C, b.let(add(partial, D)), E, F, G];
  }
  return gather4(A, B, E, F);
});

const sha256Message1 = binary((b, x, y) => {
  const w = [0, 1, 2, 3].map((n) => b.let(dword(x, n)));
  const next = [w[1], w[2], w[3], b.let(dword(y, 0))];
  const [d0, d1, d2, d3] = w.map((word, n) => add(word, sigma0(next[n])));
  return gather4(d3, d2, d1, d0);
});
const sha256Message2 = binary((b, x, y) => {
  const w16 = b.let(add(dword(x, 0), sigma1(b.let(dword(y, 2)))));
  const w17 = b.let(add(dword(x, 1), sigma1(b.let(dword(y, 3)))));
  return gather4(add(dword(x, 3), sigma1(w17)), add(dword(x, 2), sigma1(w16)), w17, w16);
});

const sha = (mnemonic: string, code: string, operands: string, semantics: Semantics): Row =>
  row(mnemonic, `NP ${code}`, operands, semantics, { cpuid: 'sha_ni', unit: 'sse' });

export const shaRows: readonly Row[] = [
  sha('SHA1RNDS4', '0F 3A CC', 'Vdq,Wdq,Ibu', sha1Rounds),
  sha('SHA1NEXTE', '0F 38 C8', 'Vdq,Wdq', sha1NextE),
  sha('SHA1MSG1', '0F 38 C9', 'Vdq,Wdq', sha1Message1),
  sha('SHA1MSG2', '0F 38 CA', 'Vdq,Wdq', sha1Message2),
  sha('SHA256RNDS2', '0F 38 CB', 'Vdq,Wdq', sha256Rounds),
  sha('SHA256MSG1', '0F 38 CC', 'Vdq,Wdq', sha256Message1),
  sha('SHA256MSG2', '0F 38 CD', 'Vdq,Wdq', sha256Message2),
];
