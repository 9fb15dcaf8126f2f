/** All MMX, SSE and AVX rows, and the library functions that their semantics call. */
import type { LibraryFunction } from '../../ir/index.ts';
import { floatLibrary, floatRows } from './fp.ts';
import type { Row } from './row.ts';
import { convertLibrary, convertRows } from './sse-convert.ts';
import { floatMoreLibrary, floatMoreRows } from './sse-float-more.ts';
import { sseIntegerRows } from './sse-integer.ts';
import { moveRows } from './sse-move.ts';
import { shuffleRows } from './sse-shuffle.ts';

export const vectorRows: readonly Row[] = [
  ...moveRows,
  ...sseIntegerRows,
  ...shuffleRows,
  ...floatRows,
  ...floatMoreRows,
  ...convertRows,
];
export const vectorLibrary: readonly LibraryFunction[] = [...floatLibrary, ...floatMoreLibrary, ...convertLibrary];
