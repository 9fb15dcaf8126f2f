/** All MMX, SSE and AVX rows, bit manipulation and fences, and the library functions that their semantics call. */
import type { LibraryFunction } from '../../ir/index.ts';
import { cryptoLibrary, cryptoRows } from './aes.ts';
import { avxRows } from './avx.ts';
import { bmiLibrary, bmiRows } from './bmi.ts';
import { f16cLibrary, f16cRows } from './f16c.ts';
import { fenceRows } from './fence.ts';
import { fmaLibrary, fmaRows } from './fma.ts';
import { settleFunction } from './fp.ts';
import { arithmeticLibrary } from './fp-arithmetic.ts';
import { compareLibrary } from './fp-compare.ts';
import type { Row } from './row.ts';
import { shaRows } from './sha.ts';
import { convertLibrary, convertRows } from './sse-convert.ts';
import { floatRows } from './sse-float.ts';
import { floatMoreLibrary, floatMoreRows } from './sse-float-more.ts';
import { sseIntegerRows } from './sse-integer.ts';
import { moveRows } from './sse-move.ts';
import { shuffleRows } from './sse-shuffle.ts';
import { stringCompareLibrary, stringCompareRows } from './sse42-string.ts';

export const vectorRows: readonly Row[] = [
  ...moveRows,
  ...sseIntegerRows,
  ...shuffleRows,
  ...floatRows,
  ...floatMoreRows,
  ...convertRows,
  ...stringCompareRows,
  ...cryptoRows,
  ...shaRows,
  ...avxRows,
  ...fmaRows,
  ...f16cRows,
  ...bmiRows,
  ...fenceRows,
];
export const vectorLibrary: readonly LibraryFunction[] = [
  settleFunction,
  ...arithmeticLibrary,
  ...compareLibrary,
  ...floatMoreLibrary,
  ...convertLibrary,
  ...stringCompareLibrary,
  ...cryptoLibrary,
  ...fmaLibrary,
  ...f16cLibrary,
  ...bmiLibrary,
];
