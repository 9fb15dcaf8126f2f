/**
 * The operators of the IR: WebAssembly's numeric and vector instructions, by
 * their text names (WebAssembly core specification 2.0, appendix "Index of
 * Instructions"). The types of an operator are part of its row, so that an
 * ill-typed expression is refused where it is built.
 */

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

export interface Operator {
  readonly name: string;
  /** Opcode; for prefixed instructions the number behind the prefix. */
  readonly code: number;
  /** 0, or the prefix byte 0xFC or 0xFD. */
  readonly prefix: number;
  readonly params: readonly ValueType[];
  readonly result: ValueType;
  /** Takes a lane number as an immediate. */
  readonly lane: boolean;
  /** The name without its type where `fold` knows it; else empty. */
  readonly folds: string;
}

/** Integer operators that may be computed while code is emitted. */
const folding = 'add sub mul and or xor shl shr_u shr_s eq ne eqz wrap_i64 extend_i32_u extend_i32_s'.split(' ');

type Row = readonly [firstCode: number, params: string, result: ValueType, names: string];

const types: Record<string, ValueType> = { i: 'i32', l: 'i64', f: 'f32', d: 'f64', v: 'v128' };

// A run of consecutive opcodes of one type; `_` skips a code. Params: i=i32 l=i64 f=f32 d=f64 v=v128.
const plain: readonly Row[] = [
  [0x45, 'i', 'i32', 'i32.eqz'],
  [0x46, 'ii', 'i32', 'i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u'],
  [0x50, 'l', 'i32', 'i64.eqz'],
  [0x51, 'll', 'i32', 'i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u'],
  [0x5b, 'ff', 'i32', 'f32.eq f32.ne f32.lt f32.gt f32.le f32.ge'],
  [0x61, 'dd', 'i32', 'f64.eq f64.ne f64.lt f64.gt f64.le f64.ge'],
  [0x67, 'i', 'i32', 'i32.clz i32.ctz i32.popcnt'],
  [0x6a, 'ii', 'i32', 'i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u'],
  [0x71, 'ii', 'i32', 'i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr'],
  [0x79, 'l', 'i64', 'i64.clz i64.ctz i64.popcnt'],
  [0x7c, 'll', 'i64', 'i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u'],
  [0x83, 'll', 'i64', 'i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr'],
  [0x8b, 'f', 'f32', 'f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt'],
  [0x92, 'ff', 'f32', 'f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign'],
  [0x99, 'd', 'f64', 'f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt'],
  [0xa0, 'dd', 'f64', 'f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign'],
  [0xa7, 'l', 'i32', 'i32.wrap_i64'],
  [0xac, 'i', 'i64', 'i64.extend_i32_s i64.extend_i32_u'],
  [0xb2, 'i', 'f32', 'f32.convert_i32_s f32.convert_i32_u'],
  [0xb4, 'l', 'f32', 'f32.convert_i64_s f32.convert_i64_u'],
  [0xb6, 'd', 'f32', 'f32.demote_f64'],
  [0xb7, 'i', 'f64', 'f64.convert_i32_s f64.convert_i32_u'],
  [0xb9, 'l', 'f64', 'f64.convert_i64_s f64.convert_i64_u'],
  [0xbb, 'f', 'f64', 'f64.promote_f32'],
  [0xbc, 'f', 'i32', 'i32.reinterpret_f32'],
  [0xbd, 'd', 'i64', 'i64.reinterpret_f64'],
  [0xbe, 'i', 'f32', 'f32.reinterpret_i32'],
  [0xbf, 'l', 'f64', 'f64.reinterpret_i64'],
  [0xc0, 'i', 'i32', 'i32.extend8_s i32.extend16_s'],
  [0xc2, 'l', 'i64', 'i64.extend8_s i64.extend16_s i64.extend32_s'],
];

const saturating: readonly Row[] = [
  [0x00, 'f', 'i32', 'i32.trunc_sat_f32_s i32.trunc_sat_f32_u'],
  [0x02, 'd', 'i32', 'i32.trunc_sat_f64_s i32.trunc_sat_f64_u'],
  [0x04, 'f', 'i64', 'i64.trunc_sat_f32_s i64.trunc_sat_f32_u'],
  [0x06, 'd', 'i64', 'i64.trunc_sat_f64_s i64.trunc_sat_f64_u'],
];

const compareInts = (shape: string) =>
  ['eq', 'ne', 'lt_s', 'lt_u', 'gt_s', 'gt_u', 'le_s', 'le_u', 'ge_s', 'ge_u'].map((n) => `${shape}.${n}`).join(' ');
const compareFloats = (shape: string) => ['eq', 'ne', 'lt', 'gt', 'le', 'ge'].map((n) => `${shape}.${n}`).join(' ');

const vector: readonly Row[] = [
  [0x0e, 'vv', 'v128', 'i8x16.swizzle'],
  [0x0f, 'i', 'v128', 'i8x16.splat i16x8.splat i32x4.splat'],
  [0x12, 'l', 'v128', 'i64x2.splat'],
  [0x13, 'f', 'v128', 'f32x4.splat'],
  [0x14, 'd', 'v128', 'f64x2.splat'],
  [0x23, 'vv', 'v128', compareInts('i8x16')],
  [0x2d, 'vv', 'v128', compareInts('i16x8')],
  [0x37, 'vv', 'v128', compareInts('i32x4')],
  [0x41, 'vv', 'v128', compareFloats('f32x4')],
  [0x47, 'vv', 'v128', compareFloats('f64x2')],
  [0x4d, 'v', 'v128', 'v128.not'],
  [0x4e, 'vv', 'v128', 'v128.and v128.andnot v128.or v128.xor'],
  [0x52, 'vvv', 'v128', 'v128.bitselect'],
  [0x53, 'v', 'i32', 'v128.any_true'],
  [0x5e, 'v', 'v128', 'f32x4.demote_f64x2_zero f64x2.promote_low_f32x4'],
  [0x60, 'v', 'v128', 'i8x16.abs i8x16.neg i8x16.popcnt'],
  [0x63, 'v', 'i32', 'i8x16.all_true i8x16.bitmask'],
  [0x65, 'vv', 'v128', 'i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u'],
  [0x67, 'v', 'v128', 'f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest'],
  [0x6b, 'vi', 'v128', 'i8x16.shl i8x16.shr_s i8x16.shr_u'],
  [0x6e, 'vv', 'v128', 'i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u'],
  [0x74, 'v', 'v128', 'f64x2.ceil f64x2.floor'],
  [0x76, 'vv', 'v128', 'i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u'],
  [0x7a, 'v', 'v128', 'f64x2.trunc'],
  [0x7b, 'vv', 'v128', 'i8x16.avgr_u'],
  [0x7c, 'v', 'v128', 'i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u'],
  [0x7e, 'v', 'v128', 'i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u'],
  [0x80, 'v', 'v128', 'i16x8.abs i16x8.neg'],
  [0x82, 'vv', 'v128', 'i16x8.q15mulr_sat_s'],
  [0x83, 'v', 'i32', 'i16x8.all_true i16x8.bitmask'],
  [0x85, 'vv', 'v128', 'i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u'],
  [
    0x87,
    'v',
    'v128',
    'i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u',
  ],
  [0x8b, 'vi', 'v128', 'i16x8.shl i16x8.shr_s i16x8.shr_u'],
  [0x8e, 'vv', 'v128', 'i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u'],
  [0x94, 'v', 'v128', 'f64x2.nearest'],
  [0x95, 'vv', 'v128', 'i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u _ i16x8.avgr_u'],
  [
    0x9c,
    'vv',
    'v128',
    'i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u i16x8.extmul_high_i8x16_u',
  ],
  [0xa0, 'v', 'v128', 'i32x4.abs i32x4.neg'],
  [0xa3, 'v', 'i32', 'i32x4.all_true i32x4.bitmask'],
  [
    0xa7,
    'v',
    'v128',
    'i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u',
  ],
  [0xab, 'vi', 'v128', 'i32x4.shl i32x4.shr_s i32x4.shr_u'],
  [0xae, 'vv', 'v128', 'i32x4.add'],
  [0xb1, 'vv', 'v128', 'i32x4.sub'],
  [0xb5, 'vv', 'v128', 'i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u i32x4.dot_i16x8_s'],
  [
    0xbc,
    'vv',
    'v128',
    'i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u',
  ],
  [0xc0, 'v', 'v128', 'i64x2.abs i64x2.neg'],
  [0xc3, 'v', 'i32', 'i64x2.all_true i64x2.bitmask'],
  [
    0xc7,
    'v',
    'v128',
    'i64x2.extend_low_i32x4_s i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u',
  ],
  [0xcb, 'vi', 'v128', 'i64x2.shl i64x2.shr_s i64x2.shr_u'],
  [0xce, 'vv', 'v128', 'i64x2.add'],
  [0xd1, 'vv', 'v128', 'i64x2.sub'],
  [0xd5, 'vv', 'v128', 'i64x2.mul i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s'],
  [
    0xdc,
    'vv',
    'v128',
    'i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u',
  ],
  [0xe0, 'v', 'v128', 'f32x4.abs f32x4.neg _ f32x4.sqrt'],
  [0xe4, 'vv', 'v128', 'f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax'],
  [0xec, 'v', 'v128', 'f64x2.abs f64x2.neg _ f64x2.sqrt'],
  [0xf0, 'vv', 'v128', 'f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin f64x2.pmax'],
  [0xf8, 'v', 'v128', 'i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u'],
  [
    0xfc,
    'v',
    'v128',
    'i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u',
  ],
];

const lanes: readonly Row[] = [
  [0x15, 'v', 'i32', 'i8x16.extract_lane_s i8x16.extract_lane_u'],
  [0x17, 'vi', 'v128', 'i8x16.replace_lane'],
  [0x18, 'v', 'i32', 'i16x8.extract_lane_s i16x8.extract_lane_u'],
  [0x1a, 'vi', 'v128', 'i16x8.replace_lane'],
  [0x1b, 'v', 'i32', 'i32x4.extract_lane'],
  [0x1c, 'vi', 'v128', 'i32x4.replace_lane'],
  [0x1d, 'v', 'i64', 'i64x2.extract_lane'],
  [0x1e, 'vl', 'v128', 'i64x2.replace_lane'],
  [0x1f, 'v', 'f32', 'f32x4.extract_lane'],
  [0x20, 'vf', 'v128', 'f32x4.replace_lane'],
  [0x21, 'v', 'f64', 'f64x2.extract_lane'],
  [0x22, 'vd', 'v128', 'f64x2.replace_lane'],
];

function build(): ReadonlyMap<string, Operator> {
  const table = new Map<string, Operator>();
  const add = (rows: readonly Row[], prefix: number, lane: boolean) => {
    for (const [first, params, result, names] of rows) {
      names.split(' ').forEach((name, i) => {
        if (name === '_') return;
        const [type, short] = name.split('.');
        const folds = (type === 'i32' || type === 'i64') && prefix === 0 && folding.includes(short) ? short : '';
        const paramTypes = [...params].map((c) => types[c]);
        table.set(name, { name, code: first + i, prefix, lane, result, params: paramTypes, folds });
      });
    }
  };
  add(plain, 0, false);
  add(saturating, 0xfc, false);
  add(vector, 0xfd, false);
  add(lanes, 0xfd, true);
  return table;
}

/** Every operator by its WebAssembly text name, e.g. `i64.add`, `i8x16.swizzle`. */
export const operators: ReadonlyMap<string, Operator> = build();
