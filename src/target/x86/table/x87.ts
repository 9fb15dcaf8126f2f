/** The x87 FPU: opcodes D8 to DF, and FWAIT. */
import type { LibraryFunction } from '../../ir/index.ts';
import type { Row } from './row.ts';
import { x87ArithmeticRows } from './x87-arithmetic.ts';
import { x87ControlLibrary, x87ControlRows } from './x87-control.ts';
import { x87Library as arithmeticLibrary } from './x87-library.ts';
import { x87MoveLibrary, x87MoveRows } from './x87-move.ts';
import { x87TranscendentalLibrary, x87TranscendentalRows } from './x87-transcendental.ts';

export const x87Rows: readonly Row[] = [
  ...x87MoveRows,
  ...x87ArithmeticRows,
  ...x87TranscendentalRows,
  ...x87ControlRows,
];

/** Library functions that the rows call, beside those of softfloat. */
export const x87Library: readonly LibraryFunction[] = [
  ...arithmeticLibrary,
  ...x87MoveLibrary,
  ...x87TranscendentalLibrary,
  ...x87ControlLibrary,
];
