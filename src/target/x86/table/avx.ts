/** What AVX and AVX2 add to the SSE operations: broadcasts, permutations across lanes, masked moves, variable shifts, gathers. */
import { and, type Expr, eq, i32, i64, lane, op, or, select, shrU, sub } from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { vector, xmm, ymmHigh } from '../state.ts';
import { readHalves, v, writeAll } from './fp.ts';
import type { Row } from './row.ts';
import { shuffleDwords, testBits } from './sse-shuffle.ts';
import { avx, bit, type Half, lanes, pick, plus, unaryImmediate, writeHalves, zero128 } from './vec.ts';

const swizzle = (x: Expr, indices: Expr): Expr => op('i8x16.swizzle', x, indices);
const avx2 = { cpuid: 'avx2' } as const;

// ---- broadcasts ----

/** Lane 0 of the source in every lane. */
const broadcast =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (b) => {
    const x = b.let(b.readVector(1));
    const all = b.let(pick(size, x, x, ...new Array(16 / size).fill(0)));
    b.writeVector(0, all, b.vl === 32 ? all : undefined);
  };
const broadcast128: Semantics = (b) => {
  const x = b.let(b.readVector(1));
  b.writeVector(0, x, x);
};

// ---- permutations within 128 bits ----

/** Byte indices from dword indices (0 to 3). */
const dwordBytes = (indices: Expr): Expr =>
  op('i32x4.add', op('i32x4.mul', indices, lanes(4, 0x04040404)), lanes(4, 0x03020100));
const permuteSingles: Semantics = (b) =>
  writeHalves(b, (half) => {
    const indices = v('and', b.readVector(2, half), lanes(4, 3));
    return swizzle(b.readVector(1, half), dwordBytes(indices));
  });
const choosePart = (x: Expr, low: Expr, high: Expr): Expr =>
  pick(8, select(low, pick(8, x, x, 1, 1), x), select(high, x, pick(8, x, x, 0, 0)), 0, 3);
/** VPERMILPD by bit 1 of each quadword. */
const permuteDoubles: Semantics = (b) =>
  writeHalves(b, (half) => {
    const x = b.let(b.readVector(1, half));
    const upper = op('i64x2.ne', v('and', b.readVector(2, half), lanes(8, 2)), zero128);
    return v('bitselect', pick(8, x, x, 1, 1), pick(8, x, x, 0, 0), upper);
  });
const permuteDoublesImmediate: Semantics = (b) =>
  writeHalves(b, (half) =>
    choosePart(b.let(b.readVector(1, half)), bit(b.immediate(2), 2 * half), bit(b.immediate(2), 2 * half + 1)),
  );

// ---- permutations across the halves ----

/** One of four 128-bit parts by two bits of the immediate, or zero by bit `at` + 3 (VPERM2F128, VPERM2I128). */
const permute128: Semantics = (b) => {
  const [x0, x1] = readHalves(b, 1);
  const [y0, y1] = readHalves(b, 2);
  const imm = b.immediate(3);
  const part = (at: number) => {
    const chosen = select(bit(imm, at + 1), select(bit(imm, at), y1, y0), select(bit(imm, at), x1, x0));
    return b.let(select(bit(imm, at + 3), zero128, chosen));
  };
  b.writeVector(0, part(0), part(4));
};
const insert128: Semantics = (b) => {
  const [x0, x1] = readHalves(b, 1);
  const y = b.let(b.readVector(2));
  const upper = b.let(bit(b.immediate(3), 0));
  b.writeVector(0, b.let(select(upper, x0, y)), b.let(select(upper, y, x1)));
};
const extract128: Semantics = (b) => {
  const [x0, x1] = readHalves(b, 1);
  b.writeVector(0, b.let(select(bit(b.immediate(2), 0), x1, x0)));
};

/** VPERMD, VPERMPS: eight dwords of the source by the low three bits of the first operand's. */
const permuteDwords: Semantics = (b) => {
  const indices = readHalves(b, 1);
  const [low, high] = readHalves(b, 2);
  const half = (i: Half) => {
    const bytes = b.let(dwordBytes(v('and', indices[i], lanes(4, 3))));
    const upper = op('i32x4.ne', v('and', indices[i], lanes(4, 4)), zero128);
    return b.let(v('bitselect', swizzle(high, bytes), swizzle(low, bytes), upper));
  };
  b.writeVector(0, half(0), half(1));
};
/** VPERMQ, VPERMPD: four quadwords by the immediate's 2-bit fields. */
const permuteQwords: Semantics = (b) => {
  const [low, high] = readHalves(b, 1);
  const imm = b.immediate(2);
  const part = (x: Expr, at: number) => select(bit(imm, at), pick(8, x, x, 1, 1), x);
  const qword = (at: number) => select(bit(imm, at + 1), part(high, at), part(low, at));
  const half = (at: number) => b.let(pick(8, qword(at), qword(at + 2), 0, 2));
  b.writeVector(0, half(0), half(4));
};

// ---- masked moves ----

type LaneSize = 4 | 8;
const shapeOf = (size: LaneSize): 'i32x4' | 'i64x2' => (size === 4 ? 'i32x4' : 'i64x2');
/** Numbers of the lanes in a register of the instruction's length. */
const laneNumbers = (b: X86Builder, size: LaneSize): { half: Half; n: number; offset: number }[] =>
  Array.from({ length: b.vl / size }, (_, i) => ({
    half: (i * size >= 16 ? 1 : 0) as Half,
    n: i % (16 / size),
    offset: i * size,
  }));
/** One bit a lane: the sign bits of the mask's lanes. */
const signBits = (masks: readonly Expr[], size: LaneSize): Expr[] =>
  masks.map((m) => op(`${shapeOf(size)}.bitmask`, m));

/** VMASKMOVPx and VPMASKMOVx loads: lanes whose mask is clear are zero and not accessed. */
const maskLoad =
  (size: LaneSize): Semantics =>
  (b) => {
    const chosen = signBits(readHalves(b, 1), size).map((m) => b.let(m));
    const out = chosen.map(() => b.variable(zero128));
    b.if(chosen.reduce(or), () => {
      const address = b.let(b.address(2, b.vl));
      for (const { half, n, offset } of laneNumbers(b, size))
        b.if(and(chosen[half], i32(1 << n)), () =>
          b.set(out[half], lane(`${shapeOf(size)}.replace_lane`, n, out[half], b.load(plus(address, offset), size))),
        );
    });
    writeAll(b, out);
  };
/** The stores; every chosen lane is checked before any is written. */
const maskStore =
  (size: LaneSize): Semantics =>
  (b) => {
    const chosen = signBits(readHalves(b, 1), size).map((m) => b.let(m));
    const values = readHalves(b, 2);
    const eachChosen = (body: (l: { half: Half; n: number; offset: number }) => void) => {
      for (const l of laneNumbers(b, size)) b.if(and(chosen[l.half], i32(1 << l.n)), () => body(l));
    };
    b.if(chosen.reduce(or), () => {
      const address = b.let(b.address(0, b.vl, true));
      eachChosen(({ offset }) => b.probeWrite(plus(address, offset), size));
      eachChosen(({ half, n, offset }) =>
        b.store(plus(address, offset), size, lane(`${shapeOf(size)}.extract_lane`, n, values[half])),
      );
    });
  };

// ---- shifts by lanes ----

/** Each lane by its own count; beyond the width zero, or all sign. */
const variableShift =
  (size: LaneSize, name: 'shl' | 'shr_u' | 'shr_s'): Semantics =>
  (b) =>
    writeHalves(b, (half) => {
      const x = b.let(b.readVector(1, half));
      const counts = b.let(b.readVector(2, half));
      const shape = shapeOf(size);
      const type = size === 4 ? 'i32' : 'i64';
      const width = size === 4 ? i32(32) : i64(64);
      let out = x;
      for (let i = 0; i < 16 / size; i++) {
        const value = lane(`${shape}.extract_lane`, i, x);
        const count = lane(`${shape}.extract_lane`, i, counts);
        const inRange = op(`${type}.lt_u`, count, width);
        const shifted =
          name === 'shr_s'
            ? op(`${type}.shr_s`, value, select(inRange, count, sub(width, size === 4 ? i32(1) : i64(1))))
            : select(inRange, op(`${type}.${name}`, value, count), size === 4 ? i32(0) : i64(0));
        out = lane(`${shape}.replace_lane`, i, out, shifted);
      }
      return out;
    });

// ---- gathers ----

/**
 * VGATHERxxx and VPGATHERxx. Lanes are loaded in order; after each the destination's lane is written and the mask's
 * cleared, so that an instruction that faults goes on where it left off when it is run again (SDM vol. 2, VGATHERDPS).
 */
const gather =
  (data: LaneSize, index: LaneSize): Semantics =>
  (b) => {
    const [destination, mask, indices] = [b.registerOffset(0), b.registerOffset(2), b.vectorIndex(1)];
    b.if(or(eq(destination, mask), or(eq(destination, indices), eq(mask, indices))), () => b.raise(vector.UD));
    const count = b.vl / Math.max(data, index);
    for (let i = 0; i < count; i++) {
      b.if(shrU(b.getAt(mask, i * data + data - 1, 'i32', 1), i32(7)), () => {
        const raw = b.getAt(indices, i * index, index === 4 ? 'i32' : 'i64', index);
        const value = b.load(b.indexedAddress(1, index === 4 ? op('i64.extend_i32_s', raw) : raw, data), data);
        b.putAt(destination, i * data, value, data);
      });
      b.putAt(mask, i * data, data === 4 ? i32(0) : i64(0), data);
    }
    // Lanes beyond the count are zero, in the mask too.
    const bytes = count * data;
    const clear = (offset: number) => {
      for (const register of [destination, mask])
        b.putAt(register, offset, offset % 16 ? i64(0) : zero128, offset % 16 ? 8 : 16);
    };
    if (bytes === 8) clear(8);
    if (bytes <= 16) clear(16);
  };
const gathers = (mnemonic: string, opcode: string, w: 'W0' | 'W1', data: LaneSize, index: LaneSize): Row =>
  avx(mnemonic, `66.0F38.${w} ${opcode}`, 'Vx,M,Hx', gather(data, index), { ...avx2, vsib: true });

// ---- VZEROUPPER, VZEROALL ----

const zeroRegisters =
  (all: boolean): Semantics =>
  (b) => {
    for (let i = 0; i < (b.long64 ? 16 : 8); i++) {
      if (all) b.put(xmm[i], zero128);
      b.put(ymmHigh[i], zero128);
    }
  };

export const avxRows: readonly Row[] = [
  avx('VZEROUPPER', 'L0.NP.0F 77', '', zeroRegisters(false), { by: ['long64'] }),
  avx('VZEROALL', 'L1.NP.0F 77', '', zeroRegisters(true), { by: ['long64'] }),

  avx('VBROADCASTSS', '66.0F38.W0 18', 'Vx,Md', broadcast(4)),
  avx('VBROADCASTSS', '66.0F38.W0 18', 'Vx,Ud', broadcast(4), avx2),
  avx('VBROADCASTSD', 'L1.66.0F38.W0 19', 'Vqq,Mq', broadcast(8)),
  avx('VBROADCASTSD', 'L1.66.0F38.W0 19', 'Vqq,Uq', broadcast(8), avx2),
  avx('VBROADCASTF128', 'L1.66.0F38.W0 1A', 'Vqq,Mdq', broadcast128),
  avx('VBROADCASTI128', 'L1.66.0F38.W0 5A', 'Vqq,Mdq', broadcast128, avx2),
  avx('VPBROADCASTB', '66.0F38.W0 78', 'Vx,Wb', broadcast(1), avx2),
  avx('VPBROADCASTW', '66.0F38.W0 79', 'Vx,Ww', broadcast(2), avx2),
  avx('VPBROADCASTD', '66.0F38.W0 58', 'Vx,Wd', broadcast(4), avx2),
  avx('VPBROADCASTQ', '66.0F38.W0 59', 'Vx,Wq', broadcast(8), avx2),

  avx('VPERMILPS', '66.0F38.W0 0C', 'Vx,Hx,Wx', permuteSingles),
  avx('VPERMILPD', '66.0F38.W0 0D', 'Vx,Hx,Wx', permuteDoubles),
  avx('VPERMILPS', '66.0F3A.W0 04', 'Vx,Wx,Ibu', unaryImmediate(shuffleDwords)),
  avx('VPERMILPD', '66.0F3A.W0 05', 'Vx,Wx,Ibu', permuteDoublesImmediate),
  avx('VPERM2F128', 'L1.66.0F3A.W0 06', 'Vqq,Hqq,Wqq,Ibu', permute128),
  avx('VPERM2I128', 'L1.66.0F3A.W0 46', 'Vqq,Hqq,Wqq,Ibu', permute128, avx2),
  avx('VINSERTF128', 'L1.66.0F3A.W0 18', 'Vqq,Hqq,Wdq,Ibu', insert128),
  avx('VINSERTI128', 'L1.66.0F3A.W0 38', 'Vqq,Hqq,Wdq,Ibu', insert128, avx2),
  avx('VEXTRACTF128', 'L1.66.0F3A.W0 19', 'Wdq,Vqq,Ibu', extract128),
  avx('VEXTRACTI128', 'L1.66.0F3A.W0 39', 'Wdq,Vqq,Ibu', extract128, avx2),
  avx('VPERMD', 'L1.66.0F38.W0 36', 'Vqq,Hqq,Wqq', permuteDwords, avx2),
  avx('VPERMPS', 'L1.66.0F38.W0 16', 'Vqq,Hqq,Wqq', permuteDwords, avx2),
  avx('VPERMQ', 'L1.66.0F3A.W1 00', 'Vqq,Wqq,Ibu', permuteQwords, avx2),
  avx('VPERMPD', 'L1.66.0F3A.W1 01', 'Vqq,Wqq,Ibu', permuteQwords, avx2),

  avx('VMASKMOVPS', '66.0F38.W0 2C', 'Vx,Hx,Mx', maskLoad(4)),
  avx('VMASKMOVPD', '66.0F38.W0 2D', 'Vx,Hx,Mx', maskLoad(8)),
  avx('VMASKMOVPS', '66.0F38.W0 2E', 'Mx,Hx,Vx', maskStore(4)),
  avx('VMASKMOVPD', '66.0F38.W0 2F', 'Mx,Hx,Vx', maskStore(8)),
  avx('VPMASKMOVD', '66.0F38.W0 8C', 'Vx,Hx,Mx', maskLoad(4), avx2),
  avx('VPMASKMOVQ', '66.0F38.W1 8C', 'Vx,Hx,Mx', maskLoad(8), avx2),
  avx('VPMASKMOVD', '66.0F38.W0 8E', 'Mx,Hx,Vx', maskStore(4), avx2),
  avx('VPMASKMOVQ', '66.0F38.W1 8E', 'Mx,Hx,Vx', maskStore(8), avx2),
  avx('VTESTPS', '66.0F38.W0 0E', 'Vx,Wx', (b) => testBits(b, lanes(4, 0x80000000))),
  avx('VTESTPD', '66.0F38.W0 0F', 'Vx,Wx', (b) => testBits(b, lanes(8, 1n << 63n))),

  avx('VPSLLVD', '66.0F38.W0 47', 'Vx,Hx,Wx', variableShift(4, 'shl'), avx2),
  avx('VPSLLVQ', '66.0F38.W1 47', 'Vx,Hx,Wx', variableShift(8, 'shl'), avx2),
  avx('VPSRLVD', '66.0F38.W0 45', 'Vx,Hx,Wx', variableShift(4, 'shr_u'), avx2),
  avx('VPSRLVQ', '66.0F38.W1 45', 'Vx,Hx,Wx', variableShift(8, 'shr_u'), avx2),
  avx('VPSRAVD', '66.0F38.W0 46', 'Vx,Hx,Wx', variableShift(4, 'shr_s'), avx2),

  gathers('VPGATHERDD', '90', 'W0', 4, 4),
  gathers('VPGATHERDQ', '90', 'W1', 8, 4),
  gathers('VPGATHERQD', '91', 'W0', 4, 8),
  gathers('VPGATHERQQ', '91', 'W1', 8, 8),
  gathers('VGATHERDPS', '92', 'W0', 4, 4),
  gathers('VGATHERDPD', '92', 'W1', 8, 4),
  gathers('VGATHERQPS', '93', 'W0', 4, 8),
  gathers('VGATHERQPD', '93', 'W1', 8, 8),
];
